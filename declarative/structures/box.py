"""Separable quadratic in a box, the projection onto a box among them: every entry by itself.

    minimise    sum_i (p_i/2 y_i^2 + q_i y_i)   subject to  l <= y <= u

With v = -q/p the solution is y = clip(v, l, u); either bound may be missing. The multiplier of the bounds is p (v - y),
positive at an upper bound. The derivative is one on entries off their bounds and zero on the others; an entry exactly
at its bound with v there too (weakly active) counts as off it.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, section 8.1.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.mismatch import Mismatch
from declarative.canonical.quadratic import QuadraticForm
from declarative.canonical.separable import SeparableForm
from declarative.ir.expression import Expression
from declarative.structures.printed import clamped, factor, is_numeric, named_bounds, one_number, stated
from declarative.structures.structure import Canonical, ClosedForm, Match, Show, Structure


@final
@dataclass(frozen=True)
class BoxMatch(Match):
    """Every entry is the nearest point of its interval to the centre."""

    structure = "box"
    local_names = frozenset({"v", "lower", "upper", "bounds"})
    form: SeparableForm
    program: QuadraticForm

    @property
    def stated_as(self) -> QuadraticForm:
        return self.program

    def summary(self, show: Show) -> str:
        return f"{self.form.variable.name} = {show(self.form.centre)} clipped to {self._interval(show)}"

    def _interval(self, show: Show) -> str:
        lower = "-inf" if self.form.lower is None else _bound(show, self.form.lower)
        upper = "inf" if self.form.upper is None else _bound(show, self.form.upper)
        return f"[{lower}, {upper}]"

    def closed_form(self, show: Show) -> ClosedForm:
        y, shape = show(self.form.variable), self.form.variable.shape
        naming, lower, upper = named_bounds(self.form, show)
        lines = [f"v = {show(self.form.centre)}", *naming, f"{y} = {clamped('v', lower, upper)}"]
        if lower is not None and upper is not None and not (is_numeric(lower) and is_numeric(upper)):
            lines[-1] = f"{y} = torch.where({lower} <= {upper}, {clamped('v', lower, upper)}, torch.nan)"
        lines.append(f"bounds = {factor(show, self.form.curvature, shape)}(v - {y})")
        flat = len(shape) == 1
        return ClosedForm(
            doc=f"{y} = v clipped to its bounds, every entry by itself.",
            lines=tuple(lines),
            point=(y, "bounds") if flat else (f"flatten({y}, {len(shape)})", f"flatten(bounds, {len(shape)})"),
            fields=("x", "bounds"),
            uses=() if flat else ("flatten",),
        )

    def derivative(self, show: Show) -> tuple[str, ...]:
        y = self.form.variable.name
        return (
            f"d{y}/dv = diag(1 where the bounds leave {y} free), v = {show(self.form.centre)}",
            f"d{y}/d(bound) = 1 where that bound holds it; by autograd through the clipping",
            "an entry exactly at a bound with a zero multiplier (weakly active) counts as free",
        )


def _bound(show: Show, bound: Expression) -> str:
    value = one_number(bound)
    return f"{value:g}" if value is not None else show(bound)


@final
class Box(Structure):
    name = "box"
    doc = "a separable quadratic in a box, such as the projection onto it: every entry clipped"

    def recognise(self, canonical: Canonical) -> BoxMatch | Mismatch:
        form, program = canonical.separable, stated(canonical.quadratic)
        if isinstance(form, Mismatch):
            return form
        if isinstance(program, Mismatch):
            return program
        if not form.is_curved or form.functions:
            return Mismatch("the objective is not a separable quadratic")
        couplings = [r.constraint for r in (*form.equalities, *form.inequalities)] + list(form.rest)
        if couplings:
            return Mismatch("there is a constraint besides bounds", couplings[0].span)
        if form.lower is None and form.upper is None:
            return Mismatch("there are no bounds")
        low, high = (None if b is None else one_number(b) for b in (form.lower, form.upper))
        if low is not None and high is not None and low > high:
            return Mismatch("no number is within the bounds")
        return BoxMatch(form, program)
