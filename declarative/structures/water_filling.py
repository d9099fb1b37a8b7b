"""Water filling: a weighted sum of logarithms on the simplex.

    maximise    sum_i a_i log(f_i y_i + o_i)   subject to  1'y == s (or <= s), y >= 0

With the floors n = o/f, stationarity a_i / (y_i + n_i) = nu - lambda_i gives y_i = max(a_i h - n_i, 0) for the water
level h = 1/nu: one threshold, found as that of a projection. The objective rises in every entry, so that s is always
used up. An entry whose floor is exactly at the water (weakly active) counts as filled.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, example 5.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import call, is_zero, minus, over, strip, terms, times
from declarative.canonical.linear_map import Scale, affine_parts
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import NormalConstraint, Other
from declarative.canonical.separable import CouplingRow, SeparableForm, whole_function
from declarative.ir.expression import Call, Expression, Variable
from declarative.structures.printed import factor, fitted
from declarative.structures.structure import Canonical, ClosedForm, Match, Show, Structure


@final
@dataclass(frozen=True)
class WaterFillingMatch(Match):
    """Every entry filled up to a common level over its floor."""

    structure = "water_filling"
    local_names = frozenset({"base", "a", "t", "nu", "dry"})
    form: SeparableForm
    weights: Expression
    floor: Expression
    row: CouplingRow

    @property
    def stated_locally(self) -> bool:
        return True

    def summary(self, show: Show) -> str:
        return f"{self.form.variable.name} = {show(self.row.total)} filled in over the floors {show(self.floor)}"

    def closed_form(self, show: Show) -> ClosedForm:
        y, shape = show(self.form.variable), self.form.variable.shape
        assert self.row.each is not None
        total, scale = fitted(show, self.row.total, shape), factor(show, self.row.each, shape)
        lines = (
            f"base = {show(self.floor)}",
            f"a = {fitted(show, self.weights, shape)}",
            f"{y}, t = clip_to_level(-base, {total}, slopes=a, lower=0)",
            f"nu = -1 / ({scale}t)" if scale else "nu = -1 / t",
            f"dry = torch.where({y} > 0, 0, {scale}nu - a / ({y} + base))",
        )
        inequalities = [c for c in self.form.normal.constraints if c.relation == "<="]
        rows = ["nu" if c is self.row.constraint else "dry" for c in inequalities]
        equality = self.row.constraint.relation == "=="
        return ClosedForm(
            doc=f"{y} = max(a h - base, 0) with the water level h = -t that uses up the total.",
            lines=lines,
            point=(
                y,
                "nu" if equality else f"{y}[..., :0]",
                rows[0] if len(rows) == 1 else f"torch.cat([{', '.join(rows)}], -1)",
            ),
            fields=("x", "eq", "ineq"),
            uses=("clip_to_level",),
        )

    def derivative(self, show: Show) -> tuple[str, ...]:
        y = self.form.variable.name
        return (
            f"F = the entries where {y} > 0, a = {show(self.weights)} on F and zero elsewhere, n = {show(self.floor)}",
            f"d{y} = -dn + a (1'dn) / (1'a) on F; by autograd through the formula of the level over F",
            "an entry with its floor exactly at the level (weakly active) counts as in F",
        )


@final
class WaterFilling(Structure):
    name = "water_filling"
    doc = "a weighted sum of logarithms on the simplex: one water level"

    def recognise(self, canonical: Canonical) -> WaterFillingMatch | Mismatch:
        form = canonical.separable
        if isinstance(form, Mismatch):
            return form
        if form.variable.rank != 1 or form.is_curved or not is_zero(form.gradient) or len(form.functions) != 1:
            return Mismatch("the objective is not one sum of logarithms of a vector")
        found = _logarithms(form.functions[0], form.variable)
        if found is None:
            return Mismatch("the objective is not a sum of logarithms", form.functions[0].span)
        rows = (*form.equalities, *form.inequalities)
        each = rows[0].each if len(rows) == 1 else None
        if each is None or not (each.sign.is_nonneg or form.equalities):
            return Mismatch("there is not exactly one row, on the sum of the entries")
        bounds = [c for c in form.normal.constraints if c is not rows[0].constraint]
        if form.rest or form.upper is not None or len(bounds) != 1 or not _is_nonnegativity(bounds[0], form.variable):
            return Mismatch("there is not exactly one other constraint, that the entries are nonnegative")
        return WaterFillingMatch(form, *found, rows[0])


def _is_nonnegativity(constraint: NormalConstraint, variable: Variable) -> bool:
    return constraint.relation == "<=" and not constraint.ranges and terms(constraint.expression) == {variable: -1.0}


def _logarithms(term: Other, variable: Variable) -> tuple[Expression, Expression] | None:
    """(a, n) of the term -sum(a * log(f * y + o)), n = o/f."""
    function = whole_function(term, variable)
    if function is None or function.atom.name != "sum":
        return None
    inner, weights = strip(function.args[0]), minus(term.weight)
    if isinstance(inner, Call) and inner.atom.name == "mul":
        given = next((e for e in inner.args if e.is_constant), None)
        if given is None:
            return None
        weights = times(weights, given)
        inner = strip(inner.args[1] if inner.args[0] is given else inner.args[0])
    if not isinstance(inner, Call) or inner.atom.name != "log":
        return None
    parts = affine_parts(inner.args[0])
    m = None if parts is None else parts.of(variable)
    if parts is None or not isinstance(m, Scale) or m.shape != variable.shape or not m.factor.sign.is_nonneg:
        return None
    floor = over(parts.offset, m.factor) if not m.factor.rank else call("div", parts.offset, m.factor)
    return weights, floor
