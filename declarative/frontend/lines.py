"""Newlines: where they end a statement and where they do not, and brackets, which decide it.

A newline is dropped inside brackets and after a trailing operator or comma. This looks backwards only: a lexer that
looked ahead would run in front of the parser, whose state tells it which words are keywords.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lark import Token
from lark.lark import PostLex

OPENING = {"(": ")", "[": "]"}
CLOSING = {")": "(", "]": "["}
CONTINUING = frozenset(
    (
        *("COMMA", "COLON", "ASSIGN", "LE", "GE", "EQ", "REFUSED_RELATION", "_DOTS", "_ARROW"),
        *("PLUS", "MINUS", "STAR", "SLASH", "AT", "CIRCUMFLEX", "STARSTAR"),
    )
)
"""Tokens after which a statement cannot end."""

SIGNS = ("<=", ">=", "==", "**", "..", "->", *"+-*/@^,:=<>")
"""The same in writing, longest first."""
_LEXEME = re.compile(r'#[^\n]*|"[^"\n]*"?|[()\[\]]|\n')
_STATEMENT = re.compile(
    r"[ \t\r]*(layer|dim|param|var|let|extern|minimize|maximize|solve|subject|output|option)(?![A-Za-z0-9_])"
    r"|[ \t\r]*[A-Za-z_][A-Za-z0-9_]*[ \t]*:"
)


class Newlines(PostLex):
    """Lark's hook between lexer and parser."""

    always_accept = ("_NL", "FOREIGN", "SLASHES", "STRING", "LE", "GE", "EQ", "REFUSED_RELATION", "_DOTS", "DOT_T")
    """Besides newlines: foreign characters in every state, and what would otherwise be read as one of them."""

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        depth, previous = 0, "_NL"
        for token in stream:
            if token.type in ("LPAR", "LSQB"):
                depth += 1
            elif token.type in ("RPAR", "RSQB"):
                depth -= 1
            elif token.type == "_NL" and (depth > 0 or previous in CONTINUING):
                continue
            previous = token.type
            yield token


@dataclass(frozen=True)
class Bracket:
    """A bracket and where it stands."""

    text: str
    position: int


def brackets(text: str) -> Iterator[Bracket]:
    """Every bracket of a text that is not in a comment or a string."""
    for match in _LEXEME.finditer(text):
        if match[0] in "()[]":
            yield Bracket(match[0], match.start())


def open_brackets(text: str, end: int) -> list[Bracket]:
    """The brackets that are open at a position, outermost first."""
    stack: list[Bracket] = []
    for bracket in brackets(text[:end]):
        if bracket.text in OPENING:
            stack.append(bracket)
        elif stack and stack[-1].text == CLOSING[bracket.text]:
            stack.pop()
    return stack


def starts_statement(line: str) -> bool:
    """Whether a line begins as only a statement can: with a keyword, or a constraint's name and a colon."""
    return _STATEMENT.match(line) is not None


def statement_blocks(text: str) -> Iterator[tuple[int, int]]:
    """Stretches of whole lines, one per statement, that cover the text; a mistake in one leaves the others readable.

    A line that begins as only a statement can, with a keyword or with a constraint's name, opens a block even where a
    bracket was left open before it.
    """
    start = position = depth = 0
    continues = False
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        code = re.sub(r"#[^\n]*", "", line).rstrip() if '"' not in line else line.rstrip()
        if position > start and code and (starts_statement(line) or not (continues or depth > 0)):
            yield start, position
            start, depth = position, 0
        for bracket in brackets(line):
            depth = max(0, depth + (1 if bracket.text in OPENING else -1))
        if code:
            continues = code.endswith(SIGNS)
        position += len(line)
    if position > start:
        yield start, position


def code_before(text: str, end: int) -> str:
    """The text before a position without the comments and blanks that it ends with."""
    before = text[:end].rstrip()
    while True:
        line_start = before.rfind("\n") + 1
        comment = re.search(r'^[^"#]*("[^"]*"[^"#]*)*(#.*)$', before[line_start:])
        if comment is None:
            return before
        before = before[: line_start + comment.start(2)].rstrip()
