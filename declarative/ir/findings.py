"""Makes diagnostics about expressions and declarations, which have a span if they were written and none if made."""

from __future__ import annotations

from collections.abc import Iterable

from declarative.diagnostics.diagnostic import Diagnostic, Label
from declarative.diagnostics.span import Span
from declarative.ir.expression import Expression
from declarative.ir.traverse import walk


def finding(
    code: str,
    message: str,
    at: Span | None,
    label: str = "",
    *,
    secondary: Iterable[tuple[Span | None, str]] = (),
    notes: Iterable[str] = (),
    help: str | None = None,
) -> Diagnostic:
    """A diagnostic; labels without a span are left out."""
    primary = None if at is None else Label(at, label)
    others = tuple(Label(span, text) for span, text in secondary if span is not None and span != at)
    return Diagnostic(code, message, primary, others if primary else (), tuple(notes), help)


def span_within(expression: Expression, fallback: Span | None) -> Span | None:
    """Where an expression was written: its own span, or else the first below it."""
    return next((node.span for node in walk(expression) if node.span is not None), fallback)
