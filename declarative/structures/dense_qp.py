"""Dense quadratic program: any program whose quadratic form is known, at any sizes.

    minimise    1/2 x'Px + q'x   subject to  Ax = b, Gx <= h, lower <= x <= upper

Solved by a primal-dual interior point that ends on the active set; differentiated through the KKT system.

Reference: Amos and Kolter, OptNet, 2017; Boyd and Vandenberghe, Convex Optimization, 2004, section 11.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.mismatch import Mismatch
from declarative.canonical.quadratic import QuadraticForm
from declarative.structures.structure import Canonical, Match, Show, Structure


@final
@dataclass(frozen=True)
class DenseQPMatch(Match):
    """The quadratic form to assemble."""

    structure = "dense_qp"
    form: QuadraticForm

    def summary(self, show: Show) -> str:
        parts = []
        if self.form.equalities:
            parts.append("equalities")
        if self.form.inequalities:
            parts.append("inequalities")
        if self.form.lower or self.form.upper:
            parts.append("bounds")
        added = [v.name for v in self.form.variables[len(self.form.normal.variables) :]]
        epigraph = f", epigraph variables {', '.join(added)}" if added else ""
        kind = "linear program" if not self.form.squares else "quadratic program"
        return f"{kind} with {', '.join(parts) or 'no constraints'}{epigraph}"

    def derivative(self, show: Show) -> tuple[str, ...]:
        active = []
        if self.form.inequalities:
            active.append("the inequalities with lambda_i > slack_i")
        if self.form.lower or self.form.upper:
            active.append("the bounds that fix a variable")
        rows = " and of ".join((["A"] if self.form.equalities else []) + active)
        return (
            *((f"C = the rows of {rows}",) if rows else ()),
            "[ P  C' ] [ u ]   [ x_bar ]" if rows else "P u = x_bar",
            *(("[ C  0  ] [ v ] = [ c_bar ]", "inactive rows drop out, their multipliers stay zero") if rows else ()),
            "theta_bar = -(dF/dtheta)' (u, v), by one autograd call on F; nothing is inverted",
            "one symmetric system per instance; where it is singular, its least-norm solution",
        )


@final
class DenseQP(Structure):
    name = "dense_qp"
    doc = "affine, quadratic and piecewise-linear terms: a dense quadratic program of any size"

    def recognise(self, canonical: Canonical) -> DenseQPMatch | Mismatch:
        form = canonical.quadratic
        return form if isinstance(form, Mismatch) else DenseQPMatch(form)
