"""Separable quadratic with an absolute value of every entry: soft thresholding, the proximal map of a weighted l1 norm.

    minimise    sum_i (p_i/2 y_i^2 + q_i y_i + w_i |f (y_i - c_i)|)   subject to  l <= y <= u

With v = -q/p and r = w |f| / p the solution is y = c + sign(v - c) max(|v - c| - r, 0), clipped to the bounds where
there are any: a convex function of one variable is least on an interval at the point nearest to its minimiser.
The derivative is that of the formula; an entry with |v - c| = r exactly (weakly active) counts as beyond its threshold.

It is stated as the quadratic program with t_i >= |f (y_i - c_i)|, whose two rows have the multipliers (w +- s)/2 with
s = w sign(f (y - c)) where y differs from c, and s = p (v - y)/f between -w and w where not.

Reference: Parikh and Boyd, Proximal algorithms, 2014, section 6.5.2; Donoho, De-noising by soft-thresholding, 1995.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import is_zero, minus, number, over, strip, times
from declarative.canonical.linear_map import Scale, affine_parts
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import Other
from declarative.canonical.quadratic import QuadraticForm
from declarative.canonical.separable import SeparableForm, whole_function
from declarative.ir.expression import Call, Constant, Expression, Variable
from declarative.ir.matrices import Full
from declarative.structures.printed import clamped, factor, fitted, is_numeric, less, named_bounds, stated
from declarative.structures.structure import Canonical, ClosedForm, Match, Show, Structure


@dataclass(frozen=True)
class AbsoluteValues:
    """``sum(weights * |factor * (y - centre)|)``; the weights are a scalar or a vector."""

    weights: Expression
    factor: float
    centre: Expression


@final
@dataclass(frozen=True)
class SoftThresholdMatch(Match):
    """The centre of the quadratic, drawn towards that of the absolute values."""

    structure = "soft_threshold"
    local_names = frozenset({"v", "centre", "weight", "r", "s", "away", "lower", "upper", "bounds"})
    form: SeparableForm
    penalty: AbsoluteValues
    program: QuadraticForm

    @property
    def stated_as(self) -> QuadraticForm:
        return self.program

    @property
    def threshold(self) -> Expression:
        return over(times(Constant(abs(self.penalty.factor)), self.penalty.weights), self.form.curvature)

    def summary(self, show: Show) -> str:
        towards = "" if is_zero(self.penalty.centre) else f" towards {show(self.penalty.centre)}"
        return f"{self.form.variable.name} = {show(self.form.centre)} shrunk{towards} by {show(self.threshold)}"

    def closed_form(self, show: Show) -> ClosedForm:
        y, shape, f = show(self.form.variable), self.form.variable.shape, self.penalty.factor
        naming, lower, upper = named_bounds(self.form, show)
        lines, centre = [f"v = {show(self.form.centre)}"], fitted(show, self.penalty.centre, shape)
        shifted = not is_zero(self.penalty.centre)
        if shifted and not centre.isidentifier():
            lines.append(f"centre = {centre}")
            centre = "centre"
        if shifted:
            lines.append(f"away = v - {centre}")
        away = "away" if shifted else "v"
        lines += [
            f"r = {fitted(show, self.threshold, shape)}",
            f"{y} = {f'{centre} + ' if shifted else ''}torch.where({away}.abs() >= r, {away} - r * {away}.sign(), 0)",
            *naming,
        ]
        bounded = lower is not None or upper is not None
        if bounded:
            inside = clamped(y, lower, upper)
            if lower is not None and upper is not None and not (is_numeric(lower) and is_numeric(upper)):
                inside = f"torch.where({lower} <= {upper}, {inside}, torch.nan)"
            lines.append(f"{y} = {inside}")
        p = factor(show, self.form.curvature, shape)
        lines.append(f"weight = {fitted(show, self.penalty.weights, shape)}")
        slope = f"{p}(v - {y})" if f == 1.0 else f"{p}(v - {y}) / {f:g}"
        if bounded:
            gap = f"({y} - {centre})" if shifted else y
            side = f"-{gap}.sign()" if f < 0 else f"{gap}.sign()"
            lines.append(f"s = torch.where({gap} == 0, ({slope}).clamp(-weight, weight), weight * {side})")
            lines.append(f"bounds = {p}(v - {y}) {less('s' if f == 1.0 else f'{f:g} * s')}")
        else:
            lines.append(f"s = {slope}" if p or f != 1.0 else f"s = v - {y}")
        size = f"({y} - {centre}).abs()" if shifted else f"{y}.abs()"
        x = f"torch.cat([{y}, {size if abs(f) == 1.0 else f'{abs(f):g} * {size}'}], -1)"
        ineq = "torch.cat([weight + s, weight - s], -1) / 2"
        return ClosedForm(
            doc=f"{y} is v moved towards {centre if shifted else 'zero'} by r, and no further than that.",
            lines=tuple(lines),
            point=(x, f"{y}[..., :0]", ineq, f"torch.cat([bounds, 0 * {y}], -1)") if bounded else (x, ineq),
            fields=("x", "eq", "ineq", "bounds") if bounded else ("x", "ineq"),
        )

    def derivative(self, show: Show) -> tuple[str, ...]:
        y = self.form.variable.name
        return (
            f"d{y}/dv = diag(1 where |v - c| >= r and no bound holds {y}, else 0), v = {show(self.form.centre)}",
            f"d{y}/dr = -sign(v - c) there, r = {show(self.threshold)}; by autograd through the formula",
            "an entry exactly at its threshold (weakly active) counts as beyond it",
        )


@final
class SoftThreshold(Structure):
    name = "soft_threshold"
    doc = "a separable quadratic with a weighted l1 norm, bounds allowed: soft thresholding"

    def recognise(self, canonical: Canonical) -> SoftThresholdMatch | Mismatch:
        form, program = canonical.separable, stated(canonical.quadratic, added=1)
        if isinstance(form, Mismatch):
            return form
        if isinstance(program, Mismatch):
            return program
        if form.variable.rank != 1:
            return Mismatch("the variable is not a vector", form.variable.at)
        couplings = [r.constraint for r in (*form.equalities, *form.inequalities)] + list(form.rest)
        if couplings:
            return Mismatch("there is a constraint besides bounds", couplings[0].span)
        if not form.is_curved or len(form.functions) != 1:
            return Mismatch("the objective is not a separable quadratic and one sum of absolute values")
        penalty = absolute_values(form.functions[0], form.variable)
        if penalty is None:
            return Mismatch("the function is not a sum of absolute values", form.functions[0].span)
        return SoftThresholdMatch(form, penalty, program)


def absolute_values(term: Other, variable: Variable) -> AbsoluteValues | None:
    """The term as a weighted sum of absolute values of the whole variable, shifted and scaled."""
    function = whole_function(term, variable)
    if function is None or function.atom.name != "sum":
        return None
    inner, weights = strip(function.args[0]), term.weight
    if isinstance(inner, Call) and inner.atom.name == "mul":
        given = next((a for a in inner.args if a.is_constant), None)
        if given is None:
            return None
        weights = times(weights, given)
        inner = strip(inner.args[1] if inner.args[0] is given else inner.args[0])
    if not isinstance(inner, Call) or inner.atom.name != "abs":
        return None
    parts = affine_parts(inner.args[0])
    m = None if parts is None else parts.of(variable)
    f = number(m.factor) if isinstance(m, Scale) and m.shape == variable.shape else None
    if parts is None or not f or inner.shape != variable.shape:
        return None
    centre = over(minus(parts.offset), Constant(f)) if not is_zero(parts.offset) else Full(0.0, variable.shape)
    return AbsoluteValues(weights, f, centre)
