"""The columns in which descriptions, ``for`` clauses and remarks stand behind the lines of a run of statements.

They line up behind the longest line. Where their author has lined them up already the gap is the author's, up to a few
blanks behind the longest statement, and neighbours that are lined up need not wait for a longer line further down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

SPARE = 4
"""How many blanks a lined-up description may stand behind the longest statement of its run."""


@dataclass(frozen=True)
class Written:
    """Where the author has a tail: in which column, and how many blanks behind what comes before it."""

    column: int
    gap: int


@dataclass(frozen=True)
class Tail:
    """A text to stand behind a line of ``width`` characters.

    ``fixed``: it ends a statement of several lines, and stands right behind it.
    """

    text: str
    width: int = 0
    written: Written | None = None
    fixed: bool = False


@dataclass(frozen=True)
class Rule:
    """``gap``: the least number of blanks before a tail; ``limit``: the width that lining up must keep to."""

    gap: int
    limit: int | None = None


def columns(tails: Sequence[Tail], rule: Rule, longest: int) -> list[int]:
    """The column of each tail; ``longest`` is the width of the longest statement, with a tail or without one."""
    free = [tail for tail in tails if not tail.fixed]
    placed = iter(_as_written(free, rule, longest) or _lined_up(free, rule))
    return [tail.width + rule.gap if tail.fixed else next(placed) for tail in tails]


def _lined_up(tails: Sequence[Tail], rule: Rule) -> list[int]:
    """One column, unless a tail would not fit in its line there."""
    column = max((tail.width for tail in tails), default=0) + rule.gap
    if rule.limit is not None and any(column + len(tail.text) > rule.limit for tail in tails):
        return [tail.width + rule.gap for tail in tails]
    return [column] * len(tails)


def _as_written(tails: Sequence[Tail], rule: Rule, longest: int) -> list[int] | None:
    """The author's columns, if they are such; None where tails stand anywhere."""
    if any(tail.written is None for tail in tails):
        return None
    groups = [list(group) for _, group in groupby(tails, lambda tail: tail.written and tail.written.column)]
    if len(groups) > 1 and all(len(group) == 1 for group in groups):
        return None
    found: list[int] = []
    for group in groups:
        width = max(tail.width for tail in group)
        gap = min(tail.written.gap for tail in group if tail.written is not None)
        column = width + gap
        spare = column <= longest + SPARE and len(groups) == 1
        fits = rule.limit is None or all(column + len(tail.text) <= rule.limit for tail in group)
        if not (gap == rule.gap or (gap > rule.gap and spare)) or not (fits or len(group) == 1):
            return None
        found += [column] * len(group)
    return found
