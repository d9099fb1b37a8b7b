"""P and q of a quadratic form, block by block, as expressions; None where a block has no readable coefficient.

    ||M x + c||^2_W  contributes  2 M_i' W M_j  to P_ij  and  2 M_i' W c  to q_i

A block between variables i and j has rank_i + rank_j dimensions: a matrix between vectors, a vector between a vector
and a scalar, a scalar between scalars.
"""

from __future__ import annotations

from dataclasses import dataclass

from declarative.canonical.algebra import call, is_zero, plus, product, times, transpose
from declarative.canonical.linear_map import AffineParts, Column, Inner, Map, Matrix, Scale, affine_parts, as_matrix
from declarative.canonical.normalise import Affine, Squares
from declarative.ir.expression import Constant, Expression, Variable
from declarative.ir.matrices import Full, Identity
from declarative.ir.shape import Shape

TWO = Constant(2.0)
HALF = Constant(0.5)


@dataclass(frozen=True)
class Coefficients:
    """``hessian`` has the blocks (i, j), i <= j in order of the variables, ``gradient`` one per variable; no zeros."""

    hessian: dict[tuple[str, str], Expression]
    gradient: dict[str, Expression]


def of_square(square: Squares, order: tuple[Variable, ...]) -> Coefficients | None:
    """The coefficients of one weighted square."""
    parts = None if square.ranges else _readable(square.inner)
    if parts is None:
        return None
    weight = times(TWO, square.weight)
    hessian: dict[tuple[str, str], Expression] = {}
    gradient: dict[str, Expression] = {}
    ranked = [(v, parts.of(v)) for v in order]
    for at, (left, m) in enumerate(ranked):
        if m is None:
            continue
        for right, n in ranked[at:]:
            if n is not None:
                hessian[left.name, right.name] = times(weight, _between(m, n, square.metric))
        offset = parts.offset
        if not is_zero(offset):
            metric = square.metric
            if metric is not None:
                offset = times(HALF, plus(product(metric, offset), product(transpose(metric), offset)))
            gradient[left.name] = times(weight, _pulled_back(m, offset))
    return Coefficients(hessian, gradient)


def of_linear(linear: Affine) -> Coefficients | None:
    """The gradient of one weighted affine scalar."""
    parts = None if linear.ranges else _readable(linear.expression)
    if parts is None:
        return None
    gradient = {}
    for variable, m in parts.maps:
        match m:
            case Inner(weights):
                gradient[variable.name] = times(linear.weight, weights)
            case Scale(factor, ()):
                gradient[variable.name] = times(linear.weight, factor)
            case _:
                return None
    return Coefficients({}, gradient)


def total(parts: list[Coefficients]) -> Coefficients:
    """The sum."""
    hessian: dict[tuple[str, str], Expression] = {}
    gradient: dict[str, Expression] = {}
    for part in parts:
        for key, block in part.hessian.items():
            hessian[key] = plus(hessian[key], block) if key in hessian else block
        for name, vector in part.gradient.items():
            gradient[name] = plus(gradient[name], vector) if name in gradient else vector
    return Coefficients(
        {k: b for k, b in hessian.items() if not is_zero(b)}, {k: g for k, g in gradient.items() if not is_zero(g)}
    )


def row_blocks(expression: Expression) -> AffineParts | None:
    """An affine row set over vectors and scalars with readable coefficients, else None."""
    return _readable(expression)


def _readable(expression: Expression) -> AffineParts | None:
    if expression.rank > 1:
        return None
    parts = affine_parts(expression)
    if parts is None or any(v.rank > 1 for v, _ in parts.maps):
        return None
    return parts


def _between(m: Map, n: Map, metric: Expression | None) -> Expression:
    """M' W N."""
    if metric is None and isinstance(m, Scale) and isinstance(n, Scale) and m.shape:
        return _diagonal(
            times(_full(m.factor, n.factor, m.shape), n.factor) if m.factor.rank else times(n.factor, m.factor), m.shape
        )
    right = as_matrix(n)
    if metric is not None:
        right = product(metric, right)
    match m, n:
        case Inner(u), Inner(v):
            return call("outer", u, v)
        case (Inner(), Scale()) | (Scale(), Inner()) | (Scale(_, ()), Scale(_, ())):
            return times(as_matrix(m), right)
    return product(transpose(as_matrix(m)), right)


def _full(a: Expression, b: Expression, shape: Shape) -> Expression:
    return a if a.rank else times(a, Full(1.0, shape)) if b.rank else a


def _diagonal(factor: Expression, shape: Shape) -> Expression:
    return call("diag", factor) if factor.rank else times(factor, Identity(shape[0]))


def _pulled_back(m: Map, offset: Expression) -> Expression:
    """M' c."""
    match m:
        case Scale(factor, _) | Inner(factor):
            return times(factor, offset)
        case Matrix(matrix):
            return product(transpose(matrix), offset)
        case Column(direction):
            return product(direction, offset)
