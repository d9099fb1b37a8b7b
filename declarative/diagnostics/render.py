"""Diagnostics as text for people and as data for editors.

The layout, with one block of source lines per file, the primary label under carets and the others under dashes::

    error[E203]: `@` needs equal inner sizes, but (m, n) meets (m,)
      --> elastic_net.opt:8:28
     3 | param A[m, n] "design matrix"
       |       ------- A is m x n
     8 | minimize 1/2 * sum_squares(A @ b - w)
       |                            ^^^^^ n is not m
    help: transpose the matrix: A' @ b
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from declarative.diagnostics.diagnostic import Diagnostic, Label
from declarative.diagnostics.span import Source, Span

TAB = 4
MAXIMUM_WIDTH = 140
"""Source lines beyond this many columns are shown in part, around their label."""

COLORS = {"error": "\033[1;31m", "warning": "\033[1;33m", "note": "\033[1;34m", "help": "\033[1;32m"}
BOLD, DIM, RESET = "\033[1m", "\033[2m", "\033[0m"


def render(diagnostic: Diagnostic, color: bool = False) -> str:
    """A diagnostic as a user reads it; ``color`` adds ANSI escapes for terminals."""
    paint = _Paint(color)
    head = paint(COLORS[diagnostic.severity], f"{diagnostic.severity}[{diagnostic.code}]")
    lines = [f"{head}: {paint(BOLD, _visible(diagnostic.message))}"]
    lines += _excerpts(diagnostic, paint)
    lines += [f"{paint(COLORS['note'], 'note')}: {_visible(note)}" for note in diagnostic.notes]
    if diagnostic.help:
        lines.append(f"{paint(COLORS['help'], 'help')}: {_visible(diagnostic.help)}")
    return "\n".join(lines)


def to_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """A diagnostic as JSON data: 1-based lines and columns, spans half open."""
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "primary": None if diagnostic.primary is None else _label_json(diagnostic.primary),
        "secondary": [_label_json(label) for label in diagnostic.secondary],
        "notes": list(diagnostic.notes),
        "help": diagnostic.help,
    }


def _label_json(label: Label) -> dict[str, Any]:
    span = label.span
    end = Span(span.source, span.end, span.end)
    return {
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": end.line,
        "end_column": end.column,
        "text": label.text,
    }


@dataclass(frozen=True)
class _Paint:
    """Wraps text in an escape, or leaves it."""

    color: bool

    def __call__(self, escape: str, text: str) -> str:
        return f"{escape}{text}{RESET}" if self.color else text


@dataclass(frozen=True)
class _Mark:
    """What stands under one source line: display columns, half open, and the words at their end."""

    start: int
    end: int
    text: str
    primary: bool

    @property
    def line(self) -> str:
        return ("^" if self.primary else "-") * (self.end - self.start)


def _excerpts(diagnostic: Diagnostic, paint: _Paint) -> list[str]:
    """The source lines of all labels, grouped by file, the primary label's file first."""
    if diagnostic.primary is None:
        return []
    labels = [(diagnostic.primary, True), *((label, False) for label in diagnostic.secondary)]
    sources: list[Source] = []
    for label, _ in labels:
        if all(label.span.source is not source for source in sources):
            sources.append(label.span.source)
    gutter = max(len(str(_last_line(label.span))) for label, _ in labels)
    lines: list[str] = []
    for source in sources:
        own = [(label, primary) for label, primary in labels if label.span.source is source]
        first = own[0][0].span
        arrow = "-->" if source is diagnostic.primary.span.source else ":::"
        lines.append(f"{' ' * gutter} {paint(DIM, arrow)} {_visible(source.name)}:{first.line}:{first.column}")
        lines += _block(source, own, gutter, paint)
    return lines


def _block(source: Source, labels: list[tuple[Label, bool]], gutter: int, paint: _Paint) -> list[str]:
    marks: dict[int, list[_Mark]] = {}
    for label, primary in labels:
        for number, mark in _marks(source, label, primary):
            marks.setdefault(number, []).append(mark)
    lines: list[str] = []
    previous = None
    for number in sorted(marks):
        if previous is not None and number > previous + 1 and _continues(labels, previous, number):
            lines.append(" " * gutter + " ...")
        text, own = _clip(_expand(source.lines[number - 1])[0], marks[number])
        lines.append(f" {number:>{gutter}} {paint(DIM, '|')} {text}".rstrip())
        lines += [f" {' ' * gutter} {paint(DIM, '|')} {row}" for row in _underline(own, paint)]
        previous = number
    return lines


def _continues(labels: list[tuple[Label, bool]], first: int, last: int) -> bool:
    """Whether one label covers the lines left out between two that are shown."""
    return any(label.span.line <= first and last <= _last_line(label.span) for label, _ in labels)


def _marks(source: Source, label: Label, primary: bool) -> list[tuple[int, _Mark]]:
    """The label line by line; of a long stretch, its first and last line."""
    span = label.span
    first, last = span.line, _last_line(span)
    numbers = list(range(first, last + 1)) if last - first < 4 else [first, last]
    marks = []
    for number in numbers:
        line, start_of_line = source.lines[number - 1], source.line_starts[number - 1]
        columns = _expand(line)[1]
        indent = len(line) - len(line.lstrip())
        start = span.start - start_of_line if number == first else indent
        end = min(span.end - start_of_line, len(line)) if number == last else len(line.rstrip())
        left, right = columns[min(start, len(line))], columns[min(max(end, start), len(line))]
        text = label.text if number == last else ""
        marks.append((number, _Mark(left, max(right, left + 1), _visible(text), primary)))
    return marks


def _last_line(span: Span) -> int:
    return Span(span.source, max(span.end - 1, span.start), span.end).line


def _underline(marks: list[_Mark], paint: _Paint) -> list[str]:
    """Rows under a source line. Marks share the first row while they do not overlap and their words fit."""
    rows: list[list[_Mark]] = []
    for mark in sorted(marks, key=lambda m: (-m.start, not m.primary)):
        for row in rows:
            if mark.end + (len(mark.text) + 1 if mark.text else 0) < row[-1].start:
                row.append(mark)
                break
        else:
            rows.append([mark])
    return [_row(row, paint) for row in rows]


def _row(marks: list[_Mark], paint: _Paint) -> str:
    text, column = "", 0
    for mark in reversed(marks):
        words = f"{mark.line} {mark.text}".rstrip()
        text += " " * (mark.start - column) + paint(COLORS["error" if mark.primary else "note"], words)
        column = mark.start + len(words)
    return text


def _expand(line: str) -> tuple[str, list[int]]:
    """A source line as shown, tabs expanded, and the display column of every character and of the end."""
    text, column, columns = "", 0, []
    for character in line:
        columns.append(column)
        shown = " " * (TAB - column % TAB) if character == "\t" else _visible(character)
        text += shown
        column += sum(map(_width, shown))
    return text, [*columns, column]


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _visible(text: str) -> str:
    """The text without control characters, which would move the cursor or hide what follows."""
    return "".join(map(_printable, text.replace("\r", "")))


def _printable(character: str) -> str:
    hidden = unicodedata.category(character) in ("Cc", "Cs") and character != "\n"
    return "\N{REPLACEMENT CHARACTER}" if hidden else character


def _clip(text: str, marks: list[_Mark]) -> tuple[str, list[_Mark]]:
    """A very long line cut down to the neighbourhood of its marks."""
    if len(text) <= MAXIMUM_WIDTH:
        return text, marks
    focus = next((mark for mark in marks if mark.primary), marks[0])
    start = max(0, min(focus.start - MAXIMUM_WIDTH // 3, len(text) - MAXIMUM_WIDTH))
    end = start + MAXIMUM_WIDTH
    before, after = "..." if start else "", "..." if end < len(text) else ""
    shift = start - len(before)
    moved = [
        _Mark(
            max(mark.start - shift, len(before)),
            max(min(mark.end, end) - shift, len(before) + 1),
            mark.text,
            mark.primary,
        )
        for mark in marks
        if mark.start < end and mark.end > start
    ]
    return before + text[start:end] + after, moved
