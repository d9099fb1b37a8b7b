"""Separable quadratic in a halfspace, the projection onto it among them: one inner product.

    minimise    sum_i (p_i/2 y_i^2 + q_i y_i)   subject to  a'y <= b

With v = -q/p the multiplier is t = max(a'v - b, 0) / a'(a/p) and y = v - t a/p. Where the row is exactly met at v
(weakly active) it counts as inactive: the derivative there is the identity. With a = 0 and b < 0 there is no solution.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, section 8.1.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import over
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.quadratic import QuadraticForm
from declarative.canonical.separable import CouplingRow, SeparableForm
from declarative.structures.coupling_row import one_row
from declarative.structures.printed import fitted, less
from declarative.structures.structure import Canonical, ClosedForm, Match, Show, Structure


@final
@dataclass(frozen=True)
class HalfspaceMatch(Match):
    """The centre, moved along the row until the row holds."""

    structure = "halfspace"
    local_names = frozenset({"v", "a", "d", "t", "excess", "size"})
    form: SeparableForm
    row: CouplingRow
    program: QuadraticForm

    @property
    def stated_as(self) -> QuadraticForm:
        return self.program

    def summary(self, show: Show) -> str:
        centre, a, b = (show(e) for e in (self.form.centre, self.row.weights, self.row.level))
        return f"{self.form.variable.name} = projection of {centre} onto the halfspace of {a} up to {b}"

    def closed_form(self, show: Show) -> ClosedForm:
        y, shape = show(self.form.variable), self.form.variable.shape
        lines = [
            f"v = {show(self.form.centre)}",
            f"a = {show(self.row.weights)}",
            f"d = {show(over(self.row.weights, self.form.curvature))}",
            f"excess = (a * v).sum(-1, keepdim=True) {less(fitted(show, self.row.level, shape))}",
            "size = (a * d).sum(-1, keepdim=True)",
            "t = excess.relu() / torch.where(excess > 0, size, 1)",
            f"{y} = v - t * d",
        ]
        return ClosedForm(
            doc=f"{y} = v where the row holds there; else v moved along d until it does.",
            lines=tuple(lines),
            point=(y, "t"),
            fields=("x", "ineq"),
        )

    def derivative(self, show: Show) -> tuple[str, ...]:
        y = self.form.variable.name
        return (
            f"d{y}/dv = I - d a' / (a'd) where the row is active, I where not; a = {show(self.row.weights)}, d = a/p",
            "by autograd through the formula; a row exactly met at v (weakly active) counts as inactive",
        )


@final
class Halfspace(Structure):
    name = "halfspace"
    doc = "a separable quadratic under one linear inequality, such as the projection onto a halfspace"

    def recognise(self, canonical: Canonical) -> HalfspaceMatch | Mismatch:
        found = one_row(canonical)
        if isinstance(found, Mismatch):
            return found
        form, coupling, program = found
        row = coupling.row
        if form.lower is not None or form.upper is not None:
            return Mismatch("there are bounds")
        if row.constraint.relation != "<=":
            return Mismatch("the row is an equality", row.constraint.span)
        if coupling.least is not None:
            return Mismatch("the row is bounded on both sides", row.constraint.span)
        return HalfspaceMatch(form, row, program)
