"""Separable quadratic with bounds and one coupling row: one scalar root.

    minimise    sum_i (p_i/2 y_i^2 + q_i y_i)   subject to  a'y == b (or <= b, or c <= a'y <= b),  l <= y <= u

Given the multiplier t of the row the entries part: y_i = clip(v_i - t a_i/p_i, l_i, u_i) with v = -q/p, and a'y does
not increase in t. The root is found exactly between two breakpoints, see `declarative.runtime.thresholds`. Weighted
simplices, budgets over boxes, slabs and diagonal quadratics with one equality are of this kind. Duals: t, of two sides
its positive and its negative part, and p (v - y) - t a of the bounds. On the free entries F the derivative is that of
the projection along the row, dy = dv - (a/p) a'dv / sum_F a_i^2/p_i; an entry exactly at its bound (weakly active)
counts as free.

Reference: Held, Wolfe and Crowder, Validation of subgradient optimization, 1974; Boyd and Vandenberghe, Convex
Optimization, 2004, section 5.5.3 (water-filling).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import over
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.quadratic import QuadraticForm
from declarative.canonical.separable import Coupling, CouplingRow, SeparableForm
from declarative.structures.printed import factor, fitted, named_bounds, row_multipliers, stated
from declarative.structures.structure import Canonical, ClosedForm, Match, Show, Structure


@final
@dataclass(frozen=True)
class CouplingRowMatch(Match):
    """Every entry clipped to its interval, moved along the row until the row holds."""

    structure = "coupling_row"
    local_names = frozenset({"v", "t", "a", "d", "lower", "upper", "bounds"})
    form: SeparableForm
    coupling: Coupling
    program: QuadraticForm

    @property
    def stated_as(self) -> QuadraticForm:
        return self.program

    def summary(self, show: Show) -> str:
        relation = self.coupling.row.constraint.relation
        least = "" if self.coupling.least is None else f" and >= {show(self.coupling.least)}"
        return (
            f"{self.form.variable.name} = {show(self.form.centre)} moved along {show(self.coupling.weights)} and "
            f"clipped, so that the sum is {relation} {show(self.coupling.most)}{least}"
        )

    def closed_form(self, show: Show) -> ClosedForm:
        y, shape, p = show(self.form.variable), self.form.variable.shape, self.form.curvature
        naming, lower, upper = named_bounds(self.form, show)
        least = None if self.coupling.least is None else fitted(show, self.coupling.least, shape)
        function = "clip_to_level" if least is None else "clip_between_levels"
        given = ["v", *([] if least is None else [least]), fitted(show, self.coupling.most, shape)]
        given += ["weights=a", "slopes=d"]
        given += [f"{name}={text}" for name, text in (("lower", lower), ("upper", upper)) if text is not None]
        equality = self.coupling.is_equality
        if not equality and least is None:
            given.append("at_most=True")
        lines = [
            f"v = {show(self.form.centre)}",
            f"a = {show(self.coupling.weights)}",
            f"d = {show(over(self.coupling.weights, p))}",
            *naming,
            f"{y}, t = {function}({', '.join(given)})",
            f"bounds = {factor(show, p, shape)}(v - t * d - {y})",
        ]
        none, ineq = f"{y}[..., :0]", self._multipliers()
        return ClosedForm(
            doc=f"{y} = v - t * d clipped to its bounds, with the multiplier t that makes the row of weights a hold.",
            lines=tuple(lines),
            point=(y, "t", "bounds") if equality else (y, none, ineq, "bounds"),
            fields=("x", "eq", "bounds") if equality else ("x", "eq", "ineq", "bounds"),
            uses=(function,),
        )

    def _multipliers(self) -> str:
        """The multipliers of the rows, in the order of the program."""
        multipliers = dict(zip(map(id, self.coupling.rows), row_multipliers(self.coupling, "t"), strict=True))
        ordered = [multipliers[id(row)] for row in (*self.form.equalities, *self.form.inequalities)]
        return ordered[0] if len(ordered) == 1 else f"torch.cat([{', '.join(ordered)}], -1)"

    def derivative(self, show: Show) -> tuple[str, ...]:
        y, a = self.form.variable.name, show(self.coupling.weights)
        return (
            f"F = the entries of {y} off their bounds; a = {a} on F, 0 elsewhere; p = {show(self.form.curvature)}",
            f"d{y} = dv - (a/p) (a'dv) / (a'(a/p)) on F, v = {show(self.form.centre)}",
            "by autograd through the formula of the multiplier over F; the search for F is not differentiated",
            "an entry exactly at a bound with a zero multiplier (weakly active) counts as in F",
        )


@final
class CouplingRowStructure(Structure):
    name = "coupling_row"
    doc = "a separable quadratic with bounds and one linear equality or inequality: one scalar root"

    def recognise(self, canonical: Canonical) -> CouplingRowMatch | Mismatch:
        found = one_row(canonical)
        if isinstance(found, Mismatch):
            return found
        form, coupling, program = found
        if not form.bounds and coupling.least is None:
            return Mismatch("there are no bounds")
        return CouplingRowMatch(form, coupling, program)


def one_row(canonical: Canonical) -> tuple[SeparableForm, Coupling, QuadraticForm] | Mismatch:
    """A separable quadratic over a vector with one row, bounded on one side or two, and its quadratic program."""
    form, program = canonical.separable, stated(canonical.quadratic)
    if isinstance(form, Mismatch):
        return form
    if isinstance(program, Mismatch):
        return program
    if form.variable.rank != 1:
        return Mismatch("the variable is not a vector", form.variable.at)
    if not form.is_curved or form.functions:
        return Mismatch("the objective is not a separable quadratic")
    coupling = form.coupling
    return coupling if isinstance(coupling, Mismatch) else (form, coupling, program)


def equal_sum(canonical: Canonical) -> tuple[SeparableForm, CouplingRow, QuadraticForm] | Mismatch:
    """A multiple of the square distance over a vector whose entries have a given sum, and its quadratic program."""
    found = one_row(canonical)
    if isinstance(found, Mismatch):
        return found
    form, coupling, program = found
    row = coupling.row
    if row.each is None:
        return Mismatch("the row weighs the entries differently", row.constraint.span)
    if not coupling.is_equality:
        return Mismatch("the sum is bounded, not given", row.constraint.span)
    if form.curvature.rank:
        return Mismatch("the quadratic term is not a multiple of the identity")
    return form, row, program
