"""Syntax errors in words."""

from __future__ import annotations

from lark import Lark, UnexpectedInput

from declarative.diagnostics.diagnostic import Diagnostic, Label
from declarative.diagnostics.span import Source, Span


def explain(lark: Lark, source: Source, text: str, error: UnexpectedInput) -> Diagnostic:
    position = min(max(error.pos_in_stream or 0, 0), max(len(source.text) - 1, 0))
    return Diagnostic(
        "E101", f"unexpected {text[position : position + 1]!r}", Label(Span(source, position, position + 1))
    )
