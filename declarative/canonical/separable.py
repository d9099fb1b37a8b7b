"""The separable form of a program over one variable: what its entries do alone, and what couples them.

    minimise    sum_i (p_i/2 y_i^2 + q_i y_i) + functions of y
    subject to  lower <= y <= upper,  rows a'y == b and a'y <= b,  and the rest

Coefficients are expressions of the parameters, however the program spells them: an expanded square, a quadratic form of
a diagonal matrix and a weighted sum of squares have the same p and q. Structures with a closed form are read off it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from declarative.canonical.algebra import ZERO, call, is_call, is_zero, minus, over, plus, strip, terms, times
from declarative.canonical.coefficients import TWO, of_square
from declarative.canonical.epigraph import one_maximum
from declarative.canonical.linear_map import Inner, Scale, affine_parts
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import Affine, NormalConstraint, NormalForm, Other, Squares
from declarative.canonical.quadratic import Bound, Rows, as_bound
from declarative.ir.expression import Call, Constant, Expression, Parameter, Variable
from declarative.ir.matrices import Full, Identity
from declarative.ir.shape import Shape
from declarative.ir.traverse import symbols


@dataclass(frozen=True)
class CouplingRow:
    """``sum(weights * y) == level``, or ``<=``; the multiplier is that of the program's constraint."""

    constraint: NormalConstraint
    weights: Expression
    level: Expression

    @property
    def each(self) -> Expression | None:
        """The scalar that all entries are weighed with, a number or made of sizes; None where there is no such one."""
        match list(terms(self.weights).items()):
            case [(Full(), factor)]:
                return Constant(factor)
            case [(Call() as term, factor)] if is_call(term, "mul") and isinstance(term.args[1], Full):
                scalar = term.args[0]
                return times(Constant(factor), scalar) if not scalar.rank and not symbols(scalar) else None
        return None

    @property
    def total(self) -> Expression:
        """What the entries add up to, where all weigh the same."""
        assert self.each is not None
        return over(self.level, self.each)


@dataclass(frozen=True)
class Coupling:
    """``least <= sum(weights * y) <= most``: an equality, one inequality (no ``least``), or two against each other.

    With t the multiplier of the whole, positive at ``most`` and negative at ``least``, that of a row is the part of t
    of the sign of its ``ratio``, the factor from ``weights`` to the row's own, over |ratio|.
    """

    rows: tuple[CouplingRow, ...]
    ratios: tuple[float, ...]
    most: Expression
    least: Expression | None = None

    @property
    def row(self) -> CouplingRow:
        """The row that the others are multiples of."""
        return self.rows[self.ratios.index(1.0)]

    @property
    def weights(self) -> Expression:
        return self.row.weights

    @property
    def is_equality(self) -> bool:
        return self.rows[0].constraint.relation == "=="


@dataclass(frozen=True)
class SeparableForm:
    """The program of the module's text.

    ``curvature`` p is a scalar or has the variable's shape, ``gradient`` q has it; so with the ``bounds``, at most one
    to each side; ``functions`` are the weighted terms that are neither affine nor quadratic.
    """

    normal: NormalForm
    variable: Variable
    curvature: Expression
    gradient: Expression
    functions: tuple[Other, ...]
    bounds: tuple[Bound, ...]
    equalities: tuple[CouplingRow, ...]
    inequalities: tuple[CouplingRow, ...]
    rest: tuple[NormalConstraint, ...]

    @property
    def centre(self) -> Expression:
        """v = -q/p, where the quadratic part is least."""
        return over(minus(self.gradient), self.curvature)

    @property
    def lower(self) -> Expression | None:
        return next((b.value for b in self.bounds if b.factor < 0), None)

    @property
    def upper(self) -> Expression | None:
        return next((b.value for b in self.bounds if b.factor > 0), None)

    @property
    def coupling(self) -> Coupling | Mismatch:
        """The one row, or the two against each other, that couple the entries; a mismatch where there are others."""
        if self.rest:
            return Mismatch("there is a constraint besides bounds and one row", self.rest[0].span)
        rows = (*self.equalities, *self.inequalities)
        if len(rows) == 1:
            return Coupling(rows, (1.0,), rows[0].level)
        pair = _opposed(*rows) if len(rows) == 2 and not self.equalities else None
        if pair is None:
            return Mismatch(
                f"there are {len(rows)} coupling rows instead of one", rows[1].constraint.span if rows else None
            )
        return pair

    @property
    def is_curved(self) -> bool:
        """Whether there is a quadratic part."""
        return not is_zero(self.curvature)


def separable_form(normal: NormalForm) -> SeparableForm | Mismatch:
    """The separable form, or what couples the entries otherwise."""
    if len(normal.variables) != 1:
        return Mismatch("there is more than one variable")
    (variable,) = normal.variables
    attributes = variable.attributes - {"nonneg", "nonpos"}
    if attributes:
        return Mismatch(f"variable `{variable.name}` is {', '.join(sorted(attributes))}", variable.at)
    objective = separable_objective(normal, variable)
    if isinstance(objective, Mismatch):
        return objective
    curvature, gradient, functions = objective
    bounds: dict[bool, Bound] = {}
    rows: list[CouplingRow] = []
    rest: list[NormalConstraint] = []
    for constraint, shape in _in_pieces(normal.constraints):
        bound = _bound(constraint, shape)
        row = _row(constraint, variable)
        if bound is not None and bound[0] not in bounds:
            bounds[bound[0]] = bound[1]
        elif bound is None and row is not None:
            rows.append(row)
        else:
            rest.append(constraint)
    return SeparableForm(
        normal,
        variable,
        curvature,
        gradient,
        functions,
        tuple(bounds.values()),
        tuple(r for r in rows if r.constraint.relation == "=="),
        tuple(r for r in rows if r.constraint.relation == "<="),
        tuple(rest),
    )


def _in_pieces(constraints: tuple[NormalConstraint, ...]) -> Iterator[tuple[NormalConstraint, Shape]]:
    """``abs(y) <= c`` and ``norm_inf(y) <= c`` as their bounds, other constraints as they are; each with the shape that
    the constraint itself has."""
    for constraint in constraints:
        shape = constraint.expression.shape
        pieces = one_maximum(constraint.expression) if constraint.relation == "<=" else None
        if pieces is not None and all(p.curvature.is_affine and p.rank for p in pieces):
            yield from ((replace(constraint, expression=p), shape) for p in pieces)
        else:
            yield constraint, shape


def _opposed(one: CouplingRow, other: CouplingRow) -> Coupling | None:
    """Two inequalities on one sum, from above and from below."""
    if one.constraint.side == "lower" or (one.constraint.side == "only" and min(terms(one.weights).values()) < 0):
        one, other = other, one
    above, below = terms(one.weights), terms(other.weights)
    ratios = {below[term] / above[term] for term in above} if above.keys() == below.keys() else set()
    if len(ratios) != 1 or (ratio := ratios.pop()) >= 0:
        return None
    return Coupling((one, other), (1.0, ratio), one.level, over(other.level, Constant(ratio)))


def separable_objective(
    normal: NormalForm, variable: Variable
) -> tuple[Expression, Expression, tuple[Other, ...]] | Mismatch:
    """p, q and the other terms."""
    curvatures: list[Expression] = []
    gradients: list[Expression] = [Full(0.0, variable.shape) if variable.rank else ZERO]
    functions: list[Other] = []
    for term in normal.terms:
        match term:
            case Other():
                functions.append(term)
            case Squares():
                square = _square(term, variable)
                if square is None:
                    return Mismatch("a quadratic term couples the entries", term.span)
                curvatures.append(square[0])
                gradients.append(square[1])
            case Affine():
                slope = _slope(term, variable)
                if slope is None:
                    return Mismatch("a linear term has no coefficient over the whole variable", term.expression.span)
                gradients.append(slope)
    return _sum(curvatures, variable), plus(*gradients), tuple(functions)


def _square(square: Squares, variable: Variable) -> tuple[Expression, Expression] | None:
    """What a weighted square adds to p and q, if its matrix is diagonal."""
    parts = None if square.ranges else affine_parts(square.inner)
    if parts is None:
        return None
    m = parts.of(variable)
    weight = times(TWO, square.weight)
    metric = None if square.metric is None else diagonal(square.metric)
    if isinstance(m, Scale) and m.shape == variable.shape and (square.metric is None or metric is not None):
        if metric is not None:
            weight = times(weight, metric)
        weight = times(weight, m.factor)
        return times(weight, m.factor), times(weight, parts.offset)
    if variable.rank != 1:
        return None
    coefficients = of_square(square, (variable,))
    hessian = None if coefficients is None else coefficients.hessian.get((variable.name, variable.name))
    p = None if hessian is None else diagonal(hessian)
    if coefficients is None or p is None:
        return None
    return p, coefficients.gradient.get(variable.name, Full(0.0, variable.shape))


def _slope(linear: Affine, variable: Variable) -> Expression | None:
    """What a weighted affine term adds to q."""
    parts = None if linear.ranges else affine_parts(linear.expression)
    if parts is None:
        return None
    match parts.of(variable):
        case None:
            return Full(0.0, variable.shape) if variable.rank else ZERO
        case Inner(weights):
            return times(linear.weight, weights)
        case Scale(factor, ()):
            return times(linear.weight, factor)
    return None


def diagonal(matrix: Expression) -> Expression | None:
    """d of a matrix that is diag(d) for every value of its parameters; a scalar for a multiple of the identity."""
    scalars: list[Expression] = []
    vectors: list[Expression] = []
    for term, factor in terms(matrix).items():
        entries = _diagonal_term(term)
        if entries is None:
            return None
        (vectors if entries.rank else scalars).append(times(Constant(factor), entries))
    if not vectors:
        return plus(ZERO, *scalars)
    size = vectors[0].shape
    return plus(*vectors, *(times(s, Full(1.0, size)) for s in scalars))


def _diagonal_term(term: Expression) -> Expression | None:
    term = strip(term)
    if isinstance(term, Identity):
        return Constant(1.0)
    if is_call(term, "diag") and term.children[0].rank == 1:
        return strip(term.children[0])
    if isinstance(term, Parameter) and "diag" in term.attributes:
        return call("diag", term)
    if is_call(term, "mul") and term.children[0].rank == 0:
        inner = _diagonal_term(term.children[1])
        return None if inner is None else times(term.children[0], inner)
    return None


def _sum(parts: list[Expression], variable: Variable) -> Expression:
    """The sum of scalars and of tensors of the variable's shape."""
    if not any(p.rank for p in parts):
        return plus(ZERO, *parts)
    return plus(*(p if p.rank else times(p, Full(1.0, variable.shape)) for p in parts))


def _bound(constraint: NormalConstraint, shape: Shape) -> tuple[bool, Bound] | None:
    """(whether it is an upper bound, the bound) of the whole variable."""
    if constraint.relation != "<=" or not constraint.expression.curvature.is_affine:
        return None
    rows = Rows(constraint.origin, constraint.side, constraint.expression, constraint.ranges, shape)
    found = as_bound(rows)
    return None if found is None else (found[0][1], found[1])


def _row(constraint: NormalConstraint, variable: Variable) -> CouplingRow | None:
    e = constraint.expression
    if constraint.relation == "psd" or constraint.ranges or e.rank or not e.curvature.is_affine:
        return None
    parts = affine_parts(e)
    if parts is None:
        return None
    match parts.of(variable):
        case Inner(weights):
            return CouplingRow(constraint, weights, minus(parts.offset))
    return None


def whole_function(term: Other, variable: Variable) -> Call | None:
    """The function of a term that is not summed over an index, if it is a call."""
    function = strip(term.function)
    return function if isinstance(function, Call) and not term.ranges else None
