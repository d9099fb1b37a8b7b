"""Between offsets and the protocol's positions: lines from 0, columns in the code units that both sides agreed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lsprotocol import types

from declarative.diagnostics.span import Source, Span


@dataclass(frozen=True)
class Positions:
    """Of one text. ``units`` counts the code units of a string."""

    source: Source
    units: Callable[[str], int]

    def offset(self, position: types.Position) -> int:
        """The offset of a position; one behind a line's end is at the end of the line."""
        if position.line >= len(self.source.lines):
            return len(self.source.text)
        line, left = self.source.lines[position.line], position.character
        for column, character in enumerate(line):
            if left <= 0:
                return self.source.line_starts[position.line] + column
            left -= self.units(character)
        return self.source.line_starts[position.line] + len(line)

    def position(self, offset: int) -> types.Position:
        span = Span(self.source, offset, offset)
        line = self.source.lines[span.line - 1]
        return types.Position(span.line - 1, self.units(line[: span.column - 1]))

    def range(self, span: Span) -> types.Range:
        return types.Range(self.position(span.start), self.position(span.end))

    def whole(self) -> types.Range:
        return types.Range(types.Position(0, 0), self.position(len(self.source.text)))
