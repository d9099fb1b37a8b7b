"""A program's text as the words and marks it is written with, comments kept; what the formatter works on.

The parser drops comments and punctuation, so it cannot give a text back. This scan is only made of texts that parse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from declarative.ir.words import KEYWORDS

Kind = Literal["name", "number", "string", "sign", "comment"]

_LEXEME = re.compile(
    r"""
      (?P<comment> \#[^\n]*)
    | (?P<string>  "[^"\n]*")
    | (?P<name>    [A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>  [0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)
    | (?P<sign>    <= | >= | == | != | \*\* | -> | \.\. | \.T(?![A-Za-z0-9_]) | [-+*/@^'()\[\],:=<>])
    """,
    re.VERBOSE,
)

OPENING, CLOSING = ("(", "["), (")", "]")
RELATIONS = ("<=", ">=", "==", "<", ">", "!=", "=")
POSTFIX = ("'", ".T")


@dataclass(frozen=True)
class Lexeme:
    """A word, number, string, mark or comment; ``breaks`` says whether it began on a later line than the one before.

    ``column``: how many characters stand before it on its line.
    """

    kind: Kind
    text: str
    start: int
    breaks: bool = False
    column: int = 0

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def end_column(self) -> int:
        return self.column + len(self.text)

    @property
    def is_keyword(self) -> bool:
        return self.kind == "name" and self.text in KEYWORDS

    @property
    def ends_operand(self) -> bool:
        """Whether an operand can end with it, so that a minus after it subtracts and a bracket after it indexes."""
        is_word = self.kind == "number" or (self.kind == "name" and not self.is_keyword)
        return is_word or (self.kind == "sign" and self.text in (*CLOSING, *POSTFIX))


def scan(text: str) -> Iterator[Lexeme]:
    """The lexemes of a text that parses, in order."""
    end = 0
    for match in _LEXEME.finditer(text):
        kind: Kind = match.lastgroup  # type: ignore[assignment]
        start = match.start()
        column = start - text.rfind("\n", 0, start) - 1
        yield Lexeme(kind, match[0].rstrip(), start, "\n" in text[end:start], column)
        end = match.end()


def partners(lexemes: Sequence[Lexeme]) -> dict[int, int]:
    """The position of each opening bracket's closing one."""
    found: dict[int, int] = {}
    stack: list[int] = []
    for position, lexeme in enumerate(lexemes):
        if lexeme.kind == "sign" and lexeme.text in OPENING:
            stack.append(position)
        elif lexeme.kind == "sign" and lexeme.text in CLOSING:
            found[stack.pop()] = position
    return found
