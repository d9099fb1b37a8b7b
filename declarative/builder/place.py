"""Where in the user's Python a part of a program was written, to the column."""

from __future__ import annotations

import linecache
import os
import sys
from functools import lru_cache
from itertools import islice
from types import FrameType

from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError, Label
from declarative.diagnostics.span import Source, Span


def here() -> Span | None:
    """The expression outside this package that is being evaluated; None where Python does not know its text."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_ours(frame):
        frame = frame.f_back
    if frame is None:
        return None
    text = "".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals))
    source = _source(_shortened(frame.f_code.co_filename), text)
    line, end_line, column, end_column = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None))
    line = line or frame.f_lineno
    if line > len(source.lines):
        return None
    if column is None or end_column is None:
        column, end_column, end_line = 0, len(source.lines[line - 1].encode()), line
    return Span(source, _offset(source, line, column), _offset(source, end_line or line, end_column))


def failure(
    code: str,
    message: str,
    *,
    at: Span | None = None,
    label: str = "",
    secondary: tuple[Label, ...] = (),
    notes: tuple[str, ...] = (),
    help: str | None = None,
) -> DiagnosticError:
    """One diagnostic to raise, at the user's line unless told where."""
    span = at or here()
    return DiagnosticError([Diagnostic(code, message, Label(span, label) if span else None, secondary, notes, help)])


@lru_cache(maxsize=32)
def _source(name: str, text: str) -> Source:
    """One source for all spans of a file, so that they share its text."""
    return Source(name, text)


def _is_ours(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module == "declarative" or module.startswith("declarative.")


def _shortened(path: str) -> str:
    inside = path.startswith(os.getcwd() + os.sep)
    return os.path.relpath(path) if inside else path


def _offset(source: Source, line: int, column: int) -> int:
    """Characters before a position that Python gives as a line from 1 and a column in bytes of UTF-8."""
    characters = len(source.lines[line - 1].encode()[:column].decode(errors="ignore"))
    return source.line_starts[line - 1] + characters
