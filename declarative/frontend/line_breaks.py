"""Breaks a statement into lines: where its author did outside of brackets, and where a line is too long.

A line that is too long is broken at its loosest operators, as few of them as it takes, and what is still too long at
the next ones. What follows is aligned under the start of the expression, or behind the bracket that it stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from declarative.frontend.lexemes import Lexeme
from declarative.frontend.spacing import Gap, Piece, pieces

WIDTH = 100


@dataclass(frozen=True)
class Line:
    """A line of a statement and the column that it starts in."""

    column: int
    text: str


def lines_of(lexemes: Sequence[Lexeme], column: int) -> list[Line]:
    """The lines of a statement's body that starts in a column, at least one; a comment ends its line."""
    lines: list[Line] = []
    segment: list[Piece] = []
    code = iter(pieces([lexeme for lexeme in lexemes if lexeme.kind != "comment"]))
    for lexeme in lexemes:
        if lexeme.kind == "comment":
            lines += _filled(segment, column) if segment else []
            if lexeme.breaks or not lines:
                lines.append(Line(column, lexeme.text))
            else:
                lines[-1] = Line(lines[-1].column, f"{lines[-1].text}  {lexeme.text}")
            segment = []
            continue
        piece = next(code)
        if segment and lexeme.breaks and piece.gap is not None and piece.gap.depth == 0:
            lines += _filled(segment, column)
            segment = []
        segment.append(piece)
    return lines + (_filled(segment, column) if segment or not lines else [])


def _text(line: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in line).lstrip()


def _filled(line: Sequence[Piece], column: int) -> list[Line]:
    """A line, broken where it is too long."""
    gaps = {position: piece.gap for position, piece in enumerate(line) if position and piece.gap is not None}
    if column + len(_text(line)) <= WIDTH or not gaps:
        return [Line(column, _text(line))]
    loosest = min(gaps.values(), key=_looseness)
    chosen = [position for position, gap in gaps.items() if gap == loosest]
    behind = column + _width_before(line, loosest)
    rows, start = [list(line[: chosen[0]])], column
    for first, last in zip(chosen, [*chosen[1:], len(line)], strict=True):
        part = list(line[first:last])
        if start + len(_text(rows[-1] + part)) <= WIDTH:
            rows[-1] += part
        else:
            rows.append(part)
            start = behind
    broken = _filled(rows[0], column)
    return broken + [row for part in rows[1:] for row in _filled(part, behind)]


def _looseness(gap: Gap) -> tuple[int, int]:
    return gap.depth, gap.level


def _width_before(line: Sequence[Piece], gap: Gap) -> int:
    """How much of a line stands before what the gap's bracket holds; 0 if that opened on no line or an earlier one."""
    for position, piece in enumerate(line):
        if piece.position == gap.bracket:
            return len(_text(line[: position + 1]))
    return 0
