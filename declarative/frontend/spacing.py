"""Where blanks stand inside a statement, which parentheses it can spare, and where a long one may be broken.

- One blank on both sides of ``+ - * / @`` and of relations; none around ``^`` and ``..`` or after a minus sign.
- Sizes are written tight, as is a fraction with a number in it: ``x[t+1]``, ``0..T-1``, ``1/2 * x``, ``u_max/4``.
- Parentheses go where they enclose no operator or a whole argument; those that group operators are the author's.
- A line ends after an operator, a relation or a comma, where the language lets a statement continue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from declarative.frontend.lexemes import CLOSING, OPENING, POSTFIX, RELATIONS, Lexeme, partners

RELATION, CLAUSE, SUM, PRODUCT = range(4)
"""How loosely the places to break a line bind, loosest first: relations and commas, ``for``, ``+ -``, ``* / @``."""

LEVELS = {**dict.fromkeys((",", *RELATIONS), RELATION), **dict.fromkeys("+-", SUM), **dict.fromkeys("*/@", PRODUCT)}
BINARY = ("+", "-", "*", "/", "@", "^", "**")
TIGHT = ("^", "**", "..")


@dataclass(frozen=True)
class Gap:
    """A place to break a line: how many brackets enclose it, how loosely it binds, and its bracket (-1: none)."""

    depth: int
    level: int
    bracket: int


@dataclass(frozen=True)
class Piece:
    """A lexeme as it will be written: whether a blank comes before it, and the break that could."""

    lexeme: Lexeme
    space: bool
    gap: Gap | None
    position: int

    @property
    def text(self) -> str:
        return (" " if self.space else "") + self.lexeme.text


@dataclass
class _Context:
    """The brackets that enclose a lexeme: position, and whether sizes stand inside."""

    position: int
    sizes: bool
    range: bool = False
    """Whether the end of a ``for ... in a..b`` is being read, which is made of sizes."""


def pieces(lexemes: Sequence[Lexeme]) -> list[Piece]:
    """The lexemes of a statement with the blanks and possible breaks before them; comments come through as they are."""
    made: list[Piece] = []
    contexts = [_Context(-1, False)]
    for position, lexeme in enumerate(lexemes):
        inside = contexts[-1]
        if lexeme.text in CLOSING and lexeme.kind == "sign":
            contexts.pop()
        space = position > 0 and _spaced(lexemes, position, inside.sizes or inside.range)
        made.append(Piece(lexeme, space, _gap(lexemes, position, inside, len(contexts) - 1), position))
        if lexeme.text in OPENING and lexeme.kind == "sign":
            indexes = lexeme.text == "[" and position > 0 and lexemes[position - 1].ends_operand
            contexts.append(_Context(position, indexes or inside.sizes or inside.range))
        elif lexeme.text == "in":
            contexts[-1].range = True
        elif lexeme.text == ",":
            contexts[-1].range = False
    return made


def is_unary(lexemes: Sequence[Lexeme], position: int) -> bool:
    """Whether the minus there is a sign of its operand."""
    is_minus = lexemes[position].text == "-" and lexemes[position].kind == "sign"
    return is_minus and (position == 0 or not lexemes[position - 1].ends_operand)


def _spaced(lexemes: Sequence[Lexeme], position: int, sizes: bool) -> bool:
    """Whether a blank stands before a lexeme that is not the first."""
    before, here = lexemes[position - 1], lexemes[position]
    if "string" in (before.kind, here.kind) or "comment" in (before.kind, here.kind):
        return here.text != ","
    if before.text in (*OPENING, *TIGHT) or here.text in (",", ":", *CLOSING, *POSTFIX, *TIGHT):
        return False
    if is_unary(lexemes, position - 1) or (here.text in OPENING and before.ends_operand):
        return False
    if before.text == ":":
        return not sizes
    for operator in (position - 1, position):
        if lexemes[operator].text in LEVELS and lexemes[operator].text in BINARY and not is_unary(lexemes, operator):
            return not (sizes or _is_fraction(lexemes, operator))
    return True


def _is_fraction(lexemes: Sequence[Lexeme], position: int) -> bool:
    """Whether a division is of two words with a number among them, and each is its whole operand."""
    if lexemes[position].text != "/" or position + 1 >= len(lexemes):
        return False
    words = lexemes[position - 1], lexemes[position + 1]
    if any(word.kind not in ("name", "number") for word in words) or all(word.kind == "name" for word in words):
        return False
    before = lexemes[position - 2].text if position > 1 else ""
    after = lexemes[position + 2].text if position + 2 < len(lexemes) else ""
    return before not in ("*", "/", "@", "^", "**") and after not in ("^", "**", "(", "[", *POSTFIX)


def _gap(lexemes: Sequence[Lexeme], position: int, inside: _Context, depth: int) -> Gap | None:
    """The break that may come before a lexeme."""
    if position == 0 or inside.sizes:
        return None
    before, here = lexemes[position - 1], lexemes[position]
    if here.text == "for" and inside.position >= 0:
        return Gap(depth, CLAUSE, inside.position)
    if before.kind != "sign" or before.text not in LEVELS or is_unary(lexemes, position - 1):
        return None
    if (inside.range and before.text != ",") or _is_fraction(lexemes, position - 1):
        return None
    return Gap(depth, LEVELS[before.text], inside.position)


def without_spare_parentheses(lexemes: Sequence[Lexeme]) -> list[Lexeme]:
    """The statement without the parentheses that group nothing; one with a comment inside stays as it is."""
    kept = list(lexemes)
    if any(lexeme.kind == "comment" for lexeme in kept):
        return kept
    while True:
        pairs = partners(kept)
        spare = next((pair for pair in pairs.items() if _is_spare(kept, *pair)), None)
        if spare is None:
            return kept
        kept = [lexeme for position, lexeme in enumerate(kept) if position not in spare]


def _is_spare(lexemes: Sequence[Lexeme], opening: int, closing: int) -> bool:
    before = lexemes[opening - 1] if opening else None
    after = lexemes[closing + 1] if closing + 1 < len(lexemes) else None
    inside = lexemes[opening + 1 : closing]
    if lexemes[opening].text != "(" or not inside or inside[0].is_keyword:
        return False
    if before is not None and (before.ends_operand or _is_misused(lexemes, opening - 1)):
        return False
    starts_slot = before is None or before.is_keyword or before.text in (*OPENING, *RELATIONS, ",", ":", "..")
    ends_slot = after is None or after.kind != "sign" or after.text in (*CLOSING, *RELATIONS, ",", "..")
    return (starts_slot and ends_slot) or not _has_operator(inside)


def _is_misused(lexemes: Sequence[Lexeme], position: int) -> bool:
    """Whether a keyword stands where a name belongs, so that parentheses after it are those of a call."""
    if position == 0 or not lexemes[position].is_keyword or lexemes[position].text == "locally":
        return False
    before = lexemes[position - 1]
    return not (before.ends_operand or before.kind == "string")


def _has_operator(lexemes: Sequence[Lexeme]) -> bool:
    """Whether an operator stands outside of the brackets in an expression."""
    depth = 0
    for lexeme in lexemes:
        if lexeme.kind == "sign":
            depth += (lexeme.text in OPENING) - (lexeme.text in CLOSING)
            if depth == 0 and lexeme.text in BINARY:
                return True
    return False
