"""Euclidean projection onto the simplex {y : sum(y) = s, y >= 0}: sparsemax.

    minimise    p/2 ||y||^2 + q'y   subject to  1'y = s, y >= 0

With v = -q/p the solution is y = max(v - t, 0), the threshold t making the entries sum to s, which the runtime finds.
On the support S the derivative is diag(1_S) - 1_S 1_S' / |S|; an entry exactly at the threshold (weakly active) counts
as support. Duals: nu = p t, lambda = p max(t - v, 0). It is the capped simplex without caps, with a kernel of its own.

Reference: Held, Wolfe and Crowder, Validation of subgradient optimization, 1974; Martins and Astudillo, From softmax to
sparsemax, 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import ONE, is_zero, over
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.quadratic import QuadraticForm
from declarative.canonical.separable import CouplingRow, SeparableForm
from declarative.ir.traverse import symbols
from declarative.structures.coupling_row import equal_sum
from declarative.structures.printed import factor, fitted
from declarative.structures.structure import Canonical, ClosedForm, Match, Show, Structure


@final
@dataclass(frozen=True)
class SimplexMatch(Match):
    """The variable is the projection of the centre onto the simplex of the row's total."""

    structure = "simplex_projection"
    local_names = frozenset({"v", "t", "rest", "nu", "bounds"})
    form: SeparableForm
    row: CouplingRow
    program: QuadraticForm

    @property
    def stated_as(self) -> QuadraticForm:
        return self.program

    def summary(self, show: Show) -> str:
        onto = "the simplex" if self.row.total == ONE else f"the simplex of total {show(self.row.total)}"
        return f"{self.form.variable.name} = projection of {show(self.form.centre)} onto {onto}"

    def closed_form(self, show: Show) -> ClosedForm:
        y, shape, p = show(self.form.variable), self.form.variable.shape, self.form.curvature
        total = fitted(show, self.row.total, shape)
        assert self.row.each is not None
        return ClosedForm(
            doc=f"{y} = max(v - t, 0), with the threshold t that makes the entries sum to {show(self.row.total)}.",
            lines=(
                f"v = {show(self.form.centre)}",
                f"{y}, t, rest = project_on_simplex(v, {total})",
                f"nu = {factor(show, over(p, self.row.each), shape)}t",
                f"bounds = {factor(show, p, shape)}rest",
            ),
            point=(y, "nu", "bounds"),
            fields=("x", "eq", "bounds"),
            primal=(f"return project_on_simplex({show(self.form.centre)}, {total}, rest=False)[:2]",),
            primal_reads=symbols(self.form.centre) | symbols(self.row.total),
            uses=("project_on_simplex",),
        )

    def derivative(self, show: Show) -> tuple[str, ...]:
        y = self.form.variable.name
        return (
            f"S = the entries where {y} > 0, with s its indicator",
            f"d{y}/dv = diag(s) - s s' / |S|, symmetric, with v = {show(self.form.centre)}",
            "one product with it per cotangent: v_bar = s * (y_bar - mean of y_bar over S)",
            "an entry exactly at the threshold (weakly active) counts as in S",
        )


@final
class SimplexProjection(Structure):
    name = "simplex_projection"
    doc = "the projection onto the simplex (sparsemax): the threshold is one scalar root"

    def recognise(self, canonical: Canonical) -> SimplexMatch | Mismatch:
        found = equal_sum(canonical)
        if isinstance(found, Mismatch):
            return found
        form = found[0]
        if form.upper is not None:
            return Mismatch("there are upper bounds")
        if form.lower is None or not is_zero(form.lower):
            return Mismatch(f"`{form.variable.name} >= 0` is missing", form.variable.at)
        return SimplexMatch(*found)
