"""The linear part of an affine expression, as coefficients that are themselves expressions of the parameters.

    e(x) = sum_v M_v x_v + c

Each M_v is one of four kinds, which are closed under the affine operations on vectors and scalars and read as an expert
would write them. What falls outside (matrix variables under products, subscripts, stacking) has no such coefficient;
`affine_parts` returns None then, and the emitted module evaluates the expression on a basis instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from declarative.canonical.algebra import ONE, call, is_zero, minus, over, plus, product, strip, times, transpose
from declarative.ir.expression import Call, Expression, Variable
from declarative.ir.matrices import Full, Identity
from declarative.ir.shape import Shape


@dataclass(frozen=True)
class Scale:
    """``factor * x``, elementwise: the factor is a scalar, or of x's shape."""

    factor: Expression
    shape: Shape


@dataclass(frozen=True)
class Matrix:
    """``matrix @ x`` of a vector x."""

    matrix: Expression


@dataclass(frozen=True)
class Inner:
    """``sum(weights * x)``, a scalar; the weights have x's shape."""

    weights: Expression


@dataclass(frozen=True)
class Column:
    """``direction * x`` of a scalar x; the direction is a vector."""

    direction: Expression


Map = Scale | Matrix | Inner | Column


@dataclass(frozen=True)
class AffineParts:
    """An affine expression taken apart: a map per variable that occurs, and what is left where they are zero."""

    maps: tuple[tuple[Variable, Map], ...]
    offset: Expression

    def of(self, variable: Variable) -> Map | None:
        return next((m for v, m in self.maps if v == variable), None)


def affine_parts(expression: Expression) -> AffineParts | None:
    """The coefficients of an affine expression, or None where it has none of the four kinds."""
    expression = strip(expression)
    if expression.is_constant:
        return AffineParts((), expression)
    if isinstance(expression, Variable):
        identity = Scale(ONE, expression.shape)
        return AffineParts(((expression, identity),), Full(0.0, expression.shape))
    if not isinstance(expression, Call):
        return None
    parts = [affine_parts(a) for a in expression.args]
    if any(p is None for p in parts):
        return None
    known = [p for p in parts if p is not None]
    name, args = expression.atom.name, expression.args
    match name:
        case "add":
            left, right = (_spread(p, a.shape, expression.shape) for p, a in zip(known, args, strict=True))
            return None if left is None or right is None else _add(left, right, expression.shape)
        case "neg":
            return _each(known[0], lambda m: _scaled(m, minus(ONE)), minus(known[0].offset))
        case "div":
            inverse = over(ONE, args[1]) if args[1].rank == 0 else call("div", ONE, args[1])
            return _times(known[0], inverse, expression.shape)
        case "mul":
            factor, of = (args[0], 1) if args[0].is_constant else (args[1], 0)
            return _times(known[of], factor, expression.shape)
        case "matmul":
            return _product(args, known)
        case "sum":
            return _each(known[0], lambda m: _summed(m), _sum(known[0].offset))
        case "transpose" if expression.rank <= 1:
            return known[0]
    return None


def _each(parts: AffineParts, rule: object, offset: Expression) -> AffineParts | None:
    maps = [(v, rule(m)) for v, m in parts.maps]  # type: ignore[operator]
    return None if any(m is None for _, m in maps) else AffineParts(tuple(maps), offset)


def _add(left: AffineParts, right: AffineParts, shape: Shape) -> AffineParts | None:
    maps = dict(left.maps)
    for variable, added in right.maps:
        merged = _merge(maps[variable], added) if variable in maps else added
        if merged is None:
            return None
        maps[variable] = merged
    kept = tuple((v, m) for v, m in maps.items() if not is_zero(_coefficient(m)))
    return AffineParts(kept, plus(_filled(left.offset, shape), _filled(right.offset, shape)))


def _coefficient(m: Map) -> Expression:
    match m:
        case Scale(factor, _):
            return factor
        case Matrix(matrix):
            return matrix
        case Inner(weights):
            return weights
        case Column(direction):
            return direction


def _merge(a: Map, b: Map) -> Map | None:
    match a, b:
        case Scale(f, shape), Scale(g, _):
            if f.rank != g.rank:
                f, g = (_filled(f, shape), g) if not f.rank else (f, _filled(g, shape))
            return Scale(plus(f, g), shape)
        case Matrix(m), Matrix(n):
            return Matrix(plus(m, n))
        case (Matrix(m), Scale(f, shape)) | (Scale(f, shape), Matrix(m)) if len(shape) == 1:
            return Matrix(plus(m, as_matrix(Scale(f, shape))))
        case Inner(u), Inner(v):
            return Inner(plus(u, v))
        case Column(u), Column(v):
            return Column(plus(u, v))
    return None


def _spread(parts: AffineParts, shape: Shape, wanted: Shape) -> AffineParts | None:
    """A scalar that meets a vector in a sum becomes the vector of its copies."""
    if shape == wanted:
        return parts
    if len(wanted) != 1:
        return None if parts.maps else AffineParts((), _filled(parts.offset, wanted))
    ones = Full(1.0, wanted)

    def rule(m: Map) -> Map | None:
        match m:
            case Scale(factor, ()):
                return Column(times(factor, ones))
            case Inner(weights) if weights.rank == 1:
                return Matrix(call("outer", ones, weights))
        return None

    return _each(parts, rule, _filled(parts.offset, wanted))


def _filled(e: Expression, shape: Shape) -> Expression:
    return times(e, Full(1.0, shape)) if not e.rank and shape else e


def _scaled(m: Map, factor: Expression) -> Map:
    match m:
        case Scale(f, shape):
            return Scale(times(factor, f), shape)
        case Matrix(matrix):
            return Matrix(times(factor, matrix))
        case Inner(weights):
            return Inner(times(factor, weights))
        case Column(direction):
            return Column(times(factor, direction))


def _times(parts: AffineParts, factor: Expression, shape: Shape) -> AffineParts | None:
    if factor.rank == 0:
        return _each(parts, lambda m: _scaled(m, factor), times(factor, parts.offset))

    def rule(m: Map) -> Map | None:
        match m:
            case Scale(f, ()):
                return Column(times(f, factor)) if factor.rank == 1 else None
            case Scale(f, s):
                return Scale(times(factor, _filled(f, s)) if f != ONE else factor, s)
            case Matrix(matrix):
                return Matrix(product(call("diag", factor), matrix))
            case Inner(weights) if factor.rank == 1 and weights.rank == 1:
                return Matrix(call("outer", factor, weights))
            case Column(direction):
                return Column(times(factor, direction))
        return None

    return _each(parts, rule, times(factor, _filled(parts.offset, shape)))


def _product(args: tuple[Expression, ...], parts: list[AffineParts]) -> AffineParts | None:
    """``P @ e`` and ``e @ P`` with P constant and e a vector."""
    constant, affine, at = (args[0], parts[1], args[1]) if args[0].is_constant else (args[1], parts[0], args[0])
    if at.rank != 1:
        return None
    if constant.rank == 2 and not args[0].is_constant:
        constant = transpose(constant)

    def rule(m: Map) -> Map | None:
        if constant.rank == 1:
            match m:
                case Scale(f, _):
                    return Inner(times(f, constant))
                case Matrix(matrix):
                    return Inner(product(transpose(matrix), constant))
                case Column(direction):
                    return Scale(product(constant, direction), ())
            return None
        match m:
            case Scale(f, _) if f.rank == 0:
                return Matrix(times(f, constant))
            case Scale(f, _):
                return Matrix(product(constant, call("diag", f)))
            case Matrix(matrix):
                return Matrix(product(constant, matrix))
            case Column(direction):
                return Column(product(constant, direction))
        return None

    return _each(affine, rule, product(constant, affine.offset))


def _summed(m: Map) -> Map:
    match m:
        case Scale(f, shape):
            return Inner(_filled(f, shape)) if shape else m
        case Matrix(matrix):
            return Inner(product(transpose(matrix), Full(1.0, (matrix.shape[0],))))
        case Column(direction):
            return Scale(_sum(direction), ())
    return m


def _sum(e: Expression) -> Expression:
    if isinstance(e, Full) and e.number == 0.0:
        return Full(0.0, ())
    return call("sum", e) if e.rank else e


def as_matrix(m: Map) -> Expression:
    """The coefficient as a matrix (rows, columns) over the flattened variable; scalars count as one row or column.

    For `Inner` over a vector, `Column` and scalar maps the result is a row, a column or a 1 x 1 matrix only in print:
    these come as the vector or scalar that they hold.
    """
    match m:
        case Scale(factor, shape) if len(shape) == 1:
            eye = Identity(shape[0])
            return call("diag", factor) if factor.rank else times(factor, eye)
        case Scale(factor, _):
            return factor
        case Matrix(matrix):
            return matrix
        case Inner(weights):
            return weights
        case Column(direction):
            return direction
