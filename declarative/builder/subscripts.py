"""Python's subscripts as those of the language, with ends that are known to be out of range refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from declarative.builder.place import failure
from declarative.builder.scope import Scope, join
from declarative.builder.sizes import Dim, as_dim
from declarative.ir.bounds import extreme, is_positive
from declarative.ir.expression import At, IndexRange, Range, Subscript
from declarative.ir.shape import Size


def subscript(key: Any, size: Size) -> tuple[Subscript, Scope]:
    """One subscript of a dimension of the given size, and the declarations it rests on.

    ``x[i]``, ``x[-1]`` and ``x[a:b]`` mean what they mean in Python; a slice has no step.
    """
    if isinstance(key, slice):
        if key.step is not None:
            raise failure("E206", "a slice has no step")
        first = _end(0 if key.start is None else key.start, size)
        stop = Dim(size, {}, {}) if key.stop is None else _end(key.stop, size)
        last = stop - 1
        found = Range(first.size, last.size)
        if found.length.is_number and found.length.constant < 1:
            raise failure("E208", f"the slice {first}:{stop} is empty")
        _check(first.size, last.size, size, {**first.ranges, **last.ranges})
        return found, join(first.scope, last.scope)
    index = _end(key, size)
    _check(index.size, index.size, size, index.ranges)
    return At(index.size), index.scope


def _end(key: Any, size: Size) -> Dim:
    """An end of a slice, or an index; a negative number counts from the end."""
    if isinstance(key, int) and not isinstance(key, bool) and key < 0:
        return Dim(size + key, {}, {})
    return as_dim(key)


def _check(first: Size, last: Size, size: Size, ranges: Mapping[str, IndexRange]) -> None:
    lowest, highest = extreme(first, ranges, upper=False), extreme(last, ranges, upper=True)
    if is_positive(-lowest):
        reach = "" if lowest == first else f" and reaches {lowest}"
        raise failure("E208", f"an index counts from 0, but this one is negative{reach}")
    if is_positive(highest - size + 1):
        reach = f"is {highest}" if highest == last else f"reaches {highest}"
        raise failure(
            "E208",
            f"index out of range: it {reach}, but the last is {size - 1}",
            notes=("indices count from 0; the ends of an index of `total` or `forall` are both included",),
        )
