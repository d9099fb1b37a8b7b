"""Sums and constraints over an index as those of whole vectors: the indexed spelling and the other are one program.

    sum((y[i] - x[i])^2 for i in 0..n-1)        is   sum((y - x)^2)
    y[i] <= u[i] for i in 0..n-1                is   y <= u
    sum(A[i, j] * y[j] for j in 0..n-1)         is   sum(A[i] * y)
    A[i] @ y <= b[i] for i in 0..m-1            is   A @ y <= b

A scalar body stands for the tensor of its values where every index runs over the whole of the tensors that it picks
from, in the order of their dimensions, and what is done with the entries is done entry by entry. A body of any other
kind (a shifted index, a slice, an index used as a number) stays a family.
"""

from __future__ import annotations

from collections.abc import Sequence

from declarative.atoms import ATOMS
from declarative.canonical.algebra import call, is_call, strip
from declarative.ir.atom import AtomError
from declarative.ir.expression import At, Call, Expression, Index, IndexRange, Sum
from declarative.ir.shape import Shape, Size
from declarative.ir.traverse import free_sizes


def summed_whole(e: Sum) -> Expression | None:
    """``sum(body for i ...)`` as ``sum(tensor)``; None where the body is of no such kind."""
    tensor = _as_tensor(e.body, e.ranges)
    return None if tensor is None else Call(ATOMS["sum"], (tensor,), e.at)


def whole_rows(
    parts: list[Expression], ranges: tuple[IndexRange, ...]
) -> tuple[list[Expression], tuple[IndexRange, ...]]:
    """The sides of a family of scalar relations as those of one relation of tensors, whose dual has the same shape.

    Sides and ranges as they are where they are of no such kind.
    """
    if not _is_simple(ranges) or any(p.rank for p in parts):
        return parts, ranges
    lifted = [tensor for p in parts if (tensor := _lifted(p, ranges)) is not None]
    whole = len(lifted) == len(parts) and any(p.rank for p in lifted)
    return (lifted, ()) if whole else (parts, ranges)


def _as_tensor(body: Expression, ranges: Sequence[IndexRange]) -> Expression | None:
    """The tensor, with a dimension per index, of the values of a scalar; None where there is no such expression."""
    tensor = _lifted(body, ranges) if _is_simple(ranges) and not body.rank else None
    return tensor if tensor is not None and tensor.shape == _lengths(ranges) else None


def _is_simple(ranges: Sequence[IndexRange]) -> bool:
    """Whether no range depends on the index of another."""
    names = {r.name for r in ranges}
    return bool(ranges) and not any((r.first.names | r.last.names) & names for r in ranges)


def _lifted(e: Expression, ranges: Sequence[IndexRange]) -> Expression | None:
    """The expression for all values of the indices; as it is where they do not occur in it."""
    e = strip(e)
    if not free_sizes(e) & {r.name for r in ranges}:
        return e
    if isinstance(e, Index):
        return _whole(e, ranges)
    if not isinstance(e, Call):
        return None
    if (rows := _products_of_rows(e, ranges)) is not None:
        return rows
    if e.rank or any(a.rank for a in e.args):
        return None
    args = [_lifted(a, ranges) for a in e.args]
    if any(a is None for a in args):
        return None
    try:
        tensor = Call(e.atom, tuple(a for a in args if a is not None), e.at)
    except AtomError:
        return None
    return tensor if tensor.shape == _lengths(ranges) else None


def _whole(e: Index, ranges: Sequence[IndexRange]) -> Expression | None:
    """``v`` of ``v[i]`` and ``A[k]`` of ``A[k, i]`` where the indices run over all of the last dimensions."""
    names, kept = {r.name for r in ranges}, len(e.subscripts) - len(ranges)
    if kept < 0 or len(e.subscripts) != e.base.rank or free_sizes(e.base) & names:
        return None
    for subscript, r, size in zip(e.subscripts[kept:], ranges, e.base.shape[kept:], strict=True):
        if not isinstance(subscript, At) or not _runs_over(subscript, r, size):
            return None
    if not kept:
        return e.base
    leading = e.subscripts[:kept]
    fixed = all(isinstance(s, At) and not s.index.names & names for s in leading)
    return Index(e.base, leading, e.at) if fixed else None


def _runs_over(subscript: At, r: IndexRange, size: Size) -> bool:
    return subscript.index - Size.of(r.name) + r.first == Size(0) and r.length == size


def _products_of_rows(e: Call, ranges: Sequence[IndexRange]) -> Expression | None:
    """``A @ v`` of ``A[i] @ v`` or ``sum(A[i] * v)`` with the index over all rows of A."""
    inner = strip(e.args[0])
    factors = e.args if is_call(e, "matmul") else inner.children if is_call(e, "sum") and is_call(inner, "mul") else ()
    if e.rank or len(factors) != 2 or len(ranges) != 1:
        return None
    for row, vector in (factors, factors[::-1]):
        row = strip(row)
        if not isinstance(row, Index) or len(row.subscripts) != 1 or row.base.rank != 2 or vector.rank != 1:
            continue
        (subscript,), names = row.subscripts, {ranges[0].name}
        free = not free_sizes(row.base) & names and not free_sizes(vector) & names
        if free and isinstance(subscript, At) and _runs_over(subscript, ranges[0], row.base.shape[0]):
            return call("matmul", row.base, vector)
    return None


def _lengths(ranges: Sequence[IndexRange]) -> Shape:
    return tuple(r.length for r in ranges)
