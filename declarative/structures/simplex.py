"""Euclidean projection onto the simplex {y : sum(y) = s, y >= 0}: sparsemax.

    minimise    p/2 ||y||^2 + q'y   subject to  1'y = s, y >= 0

With v = -q/p the solution is y = max(v - t, 0), the threshold t making the entries sum to s, which the runtime finds.
On the support S the derivative is diag(1_S) - 1_S 1_S' / |S|; an entry exactly at the threshold (weakly active) counts
as support. Duals: nu = p t, lambda = p max(t - v, 0).

Reference: Held, Wolfe and Crowder, Validation of subgradient optimization, 1974; Martins and Astudillo, From softmax to
sparsemax, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import ONE, call, is_zero, minus, number, over, plus, terms
from declarative.canonical.coefficients import of_linear, of_square, total
from declarative.canonical.linear_map import Inner, Scale, affine_parts
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import NormalConstraint
from declarative.canonical.quadratic import QuadraticForm
from declarative.ir.expression import Constant, Expression, Variable
from declarative.ir.matrices import Full, Identity
from declarative.ir.shape import Size
from declarative.structures.structure import Canonical, ClosedForm, Match, ProblemSource, Show, Structure


@dataclass(frozen=True)
class SumRow:
    """The equality ``factor * (sum(variable) - total) == 0``, with a number for the factor."""

    origin: str | None
    factor: Expression
    total: Expression


def sum_row(rows: Sequence[NormalConstraint], variable: Variable) -> SumRow | Mismatch:
    """The one equality on the sum of all entries, or why there is none."""
    if len(rows) != 1:
        return Mismatch(f"there are {len(rows)} equality constraints instead of one on the sum")
    (row,) = rows
    parts = None if row.ranges else affine_parts(row.expression)
    coefficient = parts.of(variable) if parts is not None else None
    if parts is None or row.expression.rank or len(parts.maps) != 1 or not isinstance(coefficient, Inner):
        return Mismatch("the equality is not on the sum of the entries", row.span)
    weights = terms(coefficient.weights)
    if list(weights) != [Full(1.0, variable.shape)]:
        return Mismatch("the equality weighs the entries differently", row.span)
    (factor,) = weights.values()
    return SumRow(row.origin, Constant(factor), over(minus(parts.offset), Constant(factor)))


def nonneg_origins(rows: Sequence[NormalConstraint], variable: Variable) -> tuple[str, ...] | Mismatch:
    """Names of the constraints that say ``variable >= 0``; a mismatch if any says something else."""
    names = []
    for row in rows:
        parts = None if row.ranges or row.relation != "<=" else affine_parts(row.expression)
        coefficient = parts.of(variable) if parts is not None else None
        is_bound = (
            parts is not None
            and len(parts.maps) == 1
            and isinstance(coefficient, Scale)
            and (number(coefficient.factor) or 0.0) < 0
            and row.expression.shape == variable.shape
            and is_zero(parts.offset)
        )
        if not is_bound:
            return Mismatch("there is a constraint besides the sum and nonnegativity", row.span)
        if row.origin is not None:
            names.append(row.origin)
    return tuple(names)


@final
@dataclass(frozen=True)
class SimplexMatch(Match):
    """``variable`` is the projection of ``point`` onto the simplex of the row's total."""

    structure = "simplex_projection"
    local_names = frozenset({"v", "p", "total", "size", "t", "rest", "nu", "bounds"})
    variable: Variable
    point: Expression
    curvature: Expression
    row: SumRow
    nonneg: str | None

    def summary(self, show: Show) -> str:
        onto = "the simplex" if self.row.total == ONE else f"the simplex of total {show(self.row.total)}"
        return f"{self.variable.name} = projection of {show(self.point)} onto {onto}"

    def closed_form(self, show: Show) -> ClosedForm:
        y, total = show(self.variable), self.row.total
        level = show(total) if number(total) is not None else "total"
        lines = [f"v = {show(self.point)}"]
        if number(total) is None:
            lines.append(f"total = {self._total_of_one_entry(show)}")
        lines.append(f"{y}, t, rest = project_on_simplex(v, {level})")
        p = show(self.curvature) if number(self.curvature) is not None else f"({show(self.curvature)})[..., None]"
        front = "" if p == "1" else f"{p} * "
        nu = over(Constant(1.0), self.row.factor)
        sign = "" if nu == ONE else "-" if nu == Constant(-1.0) else f"{show(nu)} * "
        lines += [f"nu = {sign}{front}t", f"bounds = {front}rest"]
        duals = {}
        if self.row.origin is not None:
            duals[self.row.origin] = "point.eq[..., 0]"
        if self.nonneg is not None:
            duals[self.nonneg] = "-point.bounds"
        return ClosedForm(
            doc=f"{y} = max(v - t, 0), with the threshold t that makes the entries sum to {show(total)}.",
            lines=tuple(lines),
            point=(y, "nu", "bounds"),
            fields=("x", "eq", "bounds"),
            duals=duals,
            uses=("project_on_simplex", "fill") if number(total) is None else ("project_on_simplex",),
        )

    def derivative(self, show: Show) -> tuple[str, ...]:
        y = self.variable.name
        return (
            f"S = the entries where {y} > 0, with s its indicator",
            f"d{y}/dv = diag(s) - s s' / |S|, symmetric, with v = {show(self.point)}",
            "one product with it per cotangent: v_bar = s * (y_bar - mean of y_bar over S)",
            "an entry exactly at the threshold (weakly active) counts as in S",
        )

    def problem(self, show: Show) -> ProblemSource:
        p, like = self.curvature, "like=v"
        factor = self.row.factor
        lines = [f"v = {show(self.point)}", "size = v.shape[-1]"]
        if number(p) is None:
            lines.append(f"p = {show(p)}")
        scale, slope = (show(p), show(p)) if number(p) is not None else ("p[..., None, None]", "p[..., None]")
        front = "" if factor == ONE else f"{show(factor)} * "
        level = number(self.row.total)
        right = f"full((1,), {level:g}, {like})" if level is not None else self._total_of_one_entry(show)
        lines += [
            "return DenseQP(",
            f"    P={'' if scale == '1' else f'{scale} * '}eye(size, {like}),",
            f"    q=-{'' if slope == '1' else f'{slope} * '}v,",
            f"    A={front}full((1, size), 1, {like}),",
            f"    b={front}{right},",
            f"    lower=full((size,), 0, {like}),",
            ")",
        ]
        rows = (
            (self.row.origin or "sum", "eq", ()),
            (self.nonneg or self.variable.name, "bounds", self.variable.shape),
        )
        return ProblemSource("DenseQP", tuple(lines), rows, ("eye", "full"))

    def _total_of_one_entry(self, show: Show) -> str:
        """The total as (*batch, 1)."""
        return show(call("mul", self.row.total, Full(1.0, (Size(1),))))


@final
class SimplexProjection(Structure):
    name = "simplex_projection"
    doc = "the projection onto the simplex (sparsemax): the threshold is one scalar root"

    def recognise(self, canonical: Canonical) -> SimplexMatch | Mismatch:
        form = canonical.quadratic
        if isinstance(form, Mismatch):
            return form
        if len(form.variables) != 1 or form.variables[0].rank != 1:
            return Mismatch("there is more than one variable, or it is not a vector")
        (variable,) = form.variables
        found = _isotropic(form, variable)
        if isinstance(found, Mismatch):
            return found
        curvature, gradient = found
        row = sum_row([c for c in form.normal.constraints if c.relation == "=="], variable)
        if isinstance(row, Mismatch):
            return row
        if form.upper or form.inequalities:
            return Mismatch("there is an inequality besides y >= 0")
        if len(form.lower) != 1 or not is_zero(form.lower[0].value):
            return Mismatch(f"`{variable.name} >= 0` is missing", variable.at)
        return SimplexMatch(variable, minus(over(gradient, curvature)), curvature, row, form.lower[0].origin)


def _isotropic(form: QuadraticForm, variable: Variable) -> tuple[Expression, Expression] | Mismatch:
    """(p, q) where the objective is p/2 ||y||^2 + q'y with a scalar p."""
    parts = [of_square(s, form.variables) for s in form.squares] + [of_linear(a) for a in form.linear]
    known = [p for p in parts if p is not None]
    if len(known) != len(parts):
        return Mismatch("the objective is not a square distance")
    coefficients = total(known)
    hessian = coefficients.hessian.get((variable.name, variable.name))
    if hessian is None:
        return Mismatch("the objective has no quadratic term")
    scale: list[Expression] = []
    for term, factor in terms(hessian).items():
        if isinstance(term, Identity):
            scale.append(Constant(factor))
        elif _is_scaled_identity(term):
            scale.append(call("mul", Constant(factor), term.children[0]) if factor != 1.0 else term.children[0])
        else:
            return Mismatch("the quadratic term is not a multiple of the identity")
    return plus(*scale), coefficients.gradient.get(variable.name, Full(0.0, variable.shape))


def _is_scaled_identity(term: Expression) -> bool:
    return len(term.children) == 2 and term.children[0].rank == 0 and isinstance(term.children[1], Identity)
