"""Symbolic sizes at run time: solving for the dimensions from the shapes of the arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

_TERM = re.compile(r"([+-]?)(?:(\d+)\*)?([A-Za-z_]\w*)|([+-]?\d+)")


@cache
def parse(size: str) -> tuple[int, tuple[tuple[str, int], ...]]:
    """``"2*n+1"`` as constant and terms. Emitted modules write sizes so; nothing else is accepted."""
    text = size.replace(" ", "")
    constant, terms, end = 0, [], 0
    for match in _TERM.finditer(text):
        if match.start() != end:
            raise ValueError(f"not a size: {size!r}")
        end = match.end()
        sign, factor, name, number = match.groups()
        if name is None:
            constant += int(number)
        else:
            terms.append((name, (-1 if sign == "-" else 1) * int(factor or 1)))
    if end != len(text) or not text:
        raise ValueError(f"not a size: {size!r}")
    return constant, tuple(terms)


def evaluate(size: str, sizes: Mapping[str, int]) -> int | None:
    """The number, or None where a dimension is not known yet."""
    constant, terms = parse(size)
    if any(name not in sizes for name, _ in terms):
        return None
    return constant + sum(factor * sizes[name] for name, factor in terms)


def solve_for(size: str, found: int, sizes: Mapping[str, int]) -> tuple[str, int] | None:
    """The one dimension that ``size == found`` determines, and its value; None where it determines none."""
    constant, terms = parse(size)
    unknown = [(name, factor) for name, factor in terms if name not in sizes]
    if len(unknown) != 1:
        return None
    ((name, factor),) = unknown
    rest = found - constant - sum(f * sizes[n] for n, f in terms if n in sizes)
    value, remainder = divmod(rest, factor)
    return (name, value) if not remainder and value >= 0 else None
