"""The symbolic quadratic program of a normal form, at symbolic sizes.

    minimise    sum_k w_k e_k' W_k e_k + sum_j w_j a_j
    subject to  rows == 0,  rows <= 0,  lower <= variables <= upper

with every e, a and row affine in the variables. Affine, quadratic and piecewise-linear programs have one; for others
`quadratic_form` says what stood in the way. Nothing is evaluated here: coefficients stay expressions of the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from declarative.canonical.algebra import minus, number, over
from declarative.canonical.epigraph import Lowering
from declarative.canonical.linear_map import Scale, affine_parts
from declarative.canonical.mismatch import DeclinedError, Mismatch
from declarative.canonical.normalise import Affine, NormalConstraint, NormalForm, Side, Squares
from declarative.ir.expression import At, Expression, Index, IndexRange, Variable
from declarative.ir.shape import Shape, Size
from declarative.ir.traverse import free_sizes, symbols, transform

UNSUPPORTED_ATTRIBUTES = frozenset({"psd", "nsd", "symmetric", "diag"})


@dataclass(frozen=True)
class Rows:
    """Affine rows against zero. ``shape`` is the constraint's own: rows of a larger shape are several per entry."""

    origin: str | None
    side: Side
    expression: Expression
    ranges: tuple[IndexRange, ...]
    shape: Shape

    @property
    def full_shape(self) -> Shape:
        """Shape of all rows: the family's indices first."""
        return tuple(r.length for r in self.ranges) + self.expression.shape


@dataclass(frozen=True)
class Bound:
    """A bound on a whole variable. ``value`` is a scalar or has the variable's shape or its trailing dimensions.

    It stems from the row ``factor * variable <= factor * value``, whose multiplier is the bound's over |factor|, or
    where it is ``summed`` from a scalar constraint on all entries (on the largest), whose multiplier is their sum.
    """

    origin: str | None
    side: Side
    variable: Variable
    value: Expression
    factor: float = 1.0
    summed: bool = False


@dataclass(frozen=True)
class QuadraticForm:
    """A quadratic program in blocks of expressions; ``variables`` lists the program's own first, added ones after."""

    normal: NormalForm
    variables: tuple[Variable, ...]
    squares: tuple[Squares, ...]
    linear: tuple[Affine, ...]
    equalities: tuple[Rows, ...]
    inequalities: tuple[Rows, ...]
    lower: tuple[Bound, ...]
    upper: tuple[Bound, ...]

    @property
    def rows(self) -> tuple[Rows, ...]:
        return self.equalities + self.inequalities

    @property
    def bounds(self) -> Iterator[Bound]:
        yield from self.lower
        yield from self.upper


def quadratic_form(normal: NormalForm) -> QuadraticForm | Mismatch:
    """The symbolic quadratic program, or what prevents one."""
    for variable in normal.variables:
        refused = variable.attributes & UNSUPPORTED_ATTRIBUTES
        if refused:
            return Mismatch(f"variable `{variable.name}` is {', '.join(sorted(refused))}", variable.at)
    try:
        return _lower(normal)
    except DeclinedError as declined:
        return declined.mismatch


def _lower(normal: NormalForm) -> QuadraticForm:
    lowering = Lowering(normal)
    lowered = [low for term in normal.terms for low in lowering.term(term)]
    rows: list[Rows] = []
    equalities: list[Rows] = []
    bounds: dict[tuple[str, bool], Bound] = {}
    for constraint in normal.constraints:
        for row, shape in lowering.constraint(constraint):
            _place(row, shape, equalities, rows, bounds)
    for row in lowering.rows:
        rows.append(Rows(None, "only", row.expression, row.ranges, row.expression.shape))
    lower = tuple(b for (_, is_upper), b in bounds.items() if not is_upper)
    upper = tuple(b for (_, is_upper), b in bounds.items() if is_upper)
    return QuadraticForm(
        normal,
        (*normal.variables, *lowering.variables),
        tuple(t for t in lowered if isinstance(t, Squares)),
        tuple(t for t in lowered if isinstance(t, Affine)),
        tuple(equalities),
        tuple(rows),
        lower,
        upper,
    )


def _place(
    row: NormalConstraint,
    shape: Shape,
    equalities: list[Rows],
    inequalities: list[Rows],
    bounds: dict[tuple[str, bool], Bound],
) -> None:
    """File a row under equalities, bounds (the first on each side of a variable) or inequalities."""
    rows = Rows(row.origin, row.side, row.expression, row.ranges, shape)
    if row.relation == "==":
        equalities.append(rows)
        return
    bound = as_bound(rows)
    if bound is not None and bound[0] not in bounds:
        bounds[bound[0]] = bound[1]
    else:
        inequalities.append(rows)


def as_bound(rows: Rows) -> tuple[tuple[str, bool], Bound] | None:
    """``c * x + offset <= 0`` with a number c over the whole of one variable, as a bound on it."""
    whole = _whole_variable(rows)
    if whole is None:
        return None
    variable, expression = whole
    parts = affine_parts(expression)
    if parts is None or len(parts.maps) != 1:
        return None
    ((placeholder, coefficient),) = parts.maps
    if not isinstance(coefficient, Scale) or placeholder.shape != expression.shape:
        return None
    factor = number(coefficient.factor)
    if not factor or free_sizes(parts.offset) & {r.name for r in rows.ranges}:
        return None
    value = over(minus(parts.offset), coefficient.factor)
    summed = len(rows.shape) < expression.rank
    return (variable.name, factor > 0), Bound(rows.origin, rows.side, variable, value, factor, summed)


def _whole_variable(rows: Rows) -> tuple[Variable, Expression] | None:
    """The one variable, and the row with it, or with one slice of it standing for every slice: ``u[t]`` for all t."""
    occurring = [n for n in _nodes(rows.expression) if isinstance(n, Variable)]
    if len(set(occurring)) != 1:
        return None
    variable = occurring[0]
    if not rows.ranges:
        return variable, rows.expression
    count = len(rows.ranges)
    slice_of = Variable(variable.name, variable.shape[count:])

    def covers(node: Expression) -> bool:
        return (
            isinstance(node, Index)
            and node.base == variable
            and len(node.subscripts) == count
            and all(
                isinstance(s, At) and s.index - Size.of(r.name) + r.first == Size(0) and r.length == size
                for s, r, size in zip(node.subscripts, rows.ranges, variable.shape, strict=False)
            )
        )

    replaced = transform(rows.expression, lambda node: slice_of if covers(node) else None)
    names = {n.name for n in _nodes(replaced) if isinstance(n, Variable) and n.shape == slice_of.shape}
    leftover = [n for n in _nodes(replaced) if isinstance(n, Variable) and n.shape != slice_of.shape]
    return (variable, replaced) if names and not leftover else None


def _nodes(expression: Expression) -> Iterator[Expression]:
    yield expression
    for child in expression.children:
        yield from _nodes(child)


def uses(form: QuadraticForm, name: str) -> bool:
    """Whether a variable occurs in any term or row."""
    parts = [s.inner for s in form.squares] + [a.expression for a in form.linear] + [r.expression for r in form.rows]
    return any(name in symbols(p) for p in parts)
