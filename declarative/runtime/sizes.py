"""Symbolic sizes at run time: solving for the dimensions from the shapes of the arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

_TERM = re.compile(r"([+-]?)(?:(\d+)\*)?([A-Za-z_]\w*)|([+-]?\d+)")


class Size(NamedTuple):
    """An affine size, ``constant + sum of factor * dimension``."""

    constant: int
    terms: tuple[tuple[str, int], ...]
    """Dimension and factor."""

    def evaluate(self, sizes: Mapping[str, int]) -> int | None:
        """The number, or None where a dimension is not known yet."""
        total = self.constant
        for name, factor in self.terms:
            if name not in sizes:
                return None
            total += factor * sizes[name]
        return total

    def solve_for(self, found: int, sizes: Mapping[str, int]) -> tuple[str, int] | None:
        """The one dimension that the size being ``found`` determines, and its value; None where it determines none."""
        unknown = [(name, factor) for name, factor in self.terms if name not in sizes]
        if len(unknown) != 1:
            return None
        ((name, factor),) = unknown
        rest = found - self.constant - sum(f * sizes[n] for n, f in self.terms if n in sizes)
        if factor == 1:
            return (name, rest) if rest >= 0 else None
        value, remainder = divmod(rest, factor)
        return (name, value) if not remainder and value >= 0 else None


@cache
def parse(size: str) -> Size:
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
    return Size(constant, tuple(terms))


def evaluate(size: str, sizes: Mapping[str, int]) -> int | None:
    """The number that a size in text is, or None where a dimension is not known yet."""
    return parse(size).evaluate(sizes)
