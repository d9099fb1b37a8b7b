"""How far an index runs: extremes of sizes over the ranges of bound indices, and what is known of their sign."""

from __future__ import annotations

from collections.abc import Mapping

from declarative.ir.expression import IndexRange
from declarative.ir.shape import Size


def extreme(value: Size, indices: Mapping[str, IndexRange], *, upper: bool) -> Size:
    """The largest (or smallest) value that a size takes as its indices run; inner indices are replaced first."""
    for name in reversed(list(indices)):
        coefficient = dict(value.terms).get(name, 0)
        end = indices[name].last if (coefficient > 0) == upper else indices[name].first
        value = value.substitute({name: end})
    return value


def is_positive(value: Size) -> bool:
    """Whether a size is at least 1 for all dimensions >= 1."""
    lowest = value.constant + sum(coefficient for _, coefficient in value.terms)
    return all(coefficient >= 0 for _, coefficient in value.terms) and lowest >= 1
