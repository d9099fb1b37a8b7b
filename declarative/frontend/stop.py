"""Where the parser stopped, and the text around that place."""

from __future__ import annotations

from dataclasses import dataclass

from lark import Token

from declarative.diagnostics.span import Source, Span


@dataclass(frozen=True)
class Stop:
    """Where the parser stopped: the token, where its statement starts, and what could have stood there."""

    source: Source
    text: str
    token: Token
    block: tuple[int, int]
    expected: frozenset[str]

    @property
    def start(self) -> int:
        return min(self.token.start_pos or 0, len(self.text))

    @property
    def span(self) -> Span:
        """The token, or the place just behind the line's text where it is a newline or the end."""
        if self.token.type in ("_NL", "$END"):
            return _end_of_line(self.source, self.start)
        return Span(self.source, self.start, self.start + max(len(self.token), 1))

    @property
    def before(self) -> str:
        """The statement up to the token."""
        return self.text[self.block[0] : self.start]

    @property
    def after(self) -> str:
        """The rest of the token's line behind it, without a comment."""
        return self.text[self.start + len(self.token) :].split("\n", 1)[0].split("#", 1)[0].strip()


def _end_of_line(source: Source, position: int) -> Span:
    """The character behind the last one of the line that is not blank, kept within the file."""
    start = source.text.rfind("\n", 0, position) + 1
    end = start + len(source.text[start:position].rstrip())
    end = min(end, max(len(source.text) - 1, 0))
    return Span(source, end, min(end + 1, len(source.text)))
