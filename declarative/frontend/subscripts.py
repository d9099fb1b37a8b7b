"""Subscripts: their number, their form and, where it is certain, their range."""

from __future__ import annotations

from itertools import zip_longest

from declarative.frontend import sizes, syntax
from declarative.frontend.labels import declarations
from declarative.frontend.scope import Indices, Scope
from declarative.ir.expression import At, Expression, Index, Range, Subscript
from declarative.ir.shape import Size


def index(base: Expression | None, node: syntax.Subscripted, scope: Scope, indices: Indices) -> Expression | None:
    """``base[i, a..b]``; None where the base or a subscript is wrong, which has been reported."""
    shape = base.shape if base is not None else ()
    subscripts = [
        _subscript(s, scope, indices, extent)
        for s, extent in zip_longest(node.subscripts, shape[: len(node.subscripts)])
    ]
    if base is None or any(s is None for s in subscripts):
        return None
    if len(subscripts) > base.rank:
        kind = {0: "a scalar has no entries to index", 1: "a vector takes one subscript"}.get(base.rank)
        first = node.subscripts[base.rank]
        scope.report(
            "E209", f"{kind or 'a matrix takes two subscripts'}, not {len(subscripts)}" if base.rank else str(kind),
            first.span.join(node.subscripts[-1].span), "too many" if base.rank else "",
            secondary=declarations((base,), scope),
        )  # fmt: skip
        return None
    checked = [s for s in subscripts if s is not None]
    inside = [
        _in_range(value, size, written, base, scope, indices)
        for value, size, written in zip(checked, base.shape, node.subscripts, strict=False)
    ]
    return Index(base, tuple(checked), at=node.span) if all(inside) else None


def _subscript(
    node: syntax.Expression | syntax.Interval | syntax.Slice, scope: Scope, indices: Indices, extent: Size | None
) -> Subscript | None:
    """A subscript of a dimension whose size is known, or None."""
    if isinstance(node, syntax.Slice):
        first = node.first.span.text if node.first else "0"
        end = sizes.size(node.last, scope, indices) if node.last else extent
        last = str(end - 1) if end is not None else "n-1"
        whole = node.first is None and node.last is None
        scope.report(
            "E106", "there is no `:` slice", node.span,
            notes=["`a..b` includes both ends; subscripts left out at the end are taken whole"],
            help=f"{first}..{last}",
            label="the whole dimension" if whole else "",
        )  # fmt: skip
        return None
    if isinstance(node, syntax.Interval):
        start, end = sizes.size(node.first, scope, indices), sizes.size(node.last, scope, indices)
        if start is None or end is None:
            return None
        return Range(start, end)
    value = sizes.size(node, scope, indices, str(extent - 1) if extent is not None else "b")
    return None if value is None else At(value)


def _in_range(
    value: Subscript, size: Size, written: syntax.Node, base: Expression, scope: Scope, indices: Indices
) -> bool:
    """Report a subscript that leaves 0..size-1 for certain, whatever the dimensions are."""
    first, last = (value.index, value.index) if isinstance(value, At) else (value.first, value.last)
    lowest, highest = sizes.extreme(first, indices, upper=False), sizes.extreme(last, indices, upper=True)
    if sizes.is_positive(-lowest):
        reach = "" if lowest == first else f" and reaches {lowest}"
        scope.report(
            "E208", f"an index counts from 0, but this one is negative{reach}", written.span,
            help=f"the last entry is {size - 1}" if lowest == first else None,
        )  # fmt: skip
        return False
    if sizes.is_positive(highest - size + 1):
        reach = f"is {highest}" if highest == last else f"reaches {highest}"
        scope.report(
            "E208", f"index out of range: it {reach}, but the last is {size - 1}", written.span,
            f"{size} is one past the end" if highest == last == size else "",
            secondary=declarations((base,), scope),
            notes=["indices count from 0, and `a..b` includes both ends"],
            help=_within(value, size, highest, indices),
        )  # fmt: skip
        return False
    if isinstance(value, Range) and value.length.is_number and value.length.constant < 1:
        scope.report(
            "E208", f"the range {value.first}..{value.last} is empty", written.span,
            notes=["`a..b` includes both ends"],
        )  # fmt: skip
        return False
    return True


def _within(value: Subscript, size: Size, highest: Size, indices: Indices) -> str | None:
    """What to write where a subscript reaches past the end: its range, or the `for` of the index that leads there."""
    if isinstance(value, Range) and value.last == highest:
        return f"{value.first}..{size - 1}"
    last = value.index if isinstance(value, At) else value.last
    moving = [(name, c) for name, c in last.terms if name in indices]
    if len(moving) != 1 or moving[0][1] != 1:
        return None
    index = indices[moving[0][0]]
    return f"for {index.name} in {index.first}..{index.last - (highest - size + 1)}"
