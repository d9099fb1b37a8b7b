"""Isotropic quadratic in a Euclidean ball, the projection onto it among them: one scaling.

    minimise    p/2 ||y||^2 + q'y   subject to  ||y - c|| <= r

With v = -q/p and d = ||v - c|| the solution is y = v where d <= r, and c + (r/d) (v - c) where not. Of a constraint
b ||f (y - c)|| <= l the radius is l / (b |f|) and the multiplier p (d - r) / (b |f|); of b ||f (y - c)||^2 <= l they
are the root of l / (b f^2) and p (d/r - 1) / (2 b f^2). On the sphere with v there too (weakly active) it counts as
inside: the derivative is the identity. A negative radius has no solution.

Reference: Parikh and Boyd, Proximal algorithms, 2014, section 6.5.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import call, is_zero, minus, number, over, times
from declarative.canonical.linear_map import Scale, affine_parts
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import Other, Squares
from declarative.canonical.separable import SeparableForm, whole_function
from declarative.ir.expression import Constant, Expression, Variable
from declarative.ir.matrices import Full
from declarative.structures.l1_ball import one_function, only_constraint
from declarative.structures.printed import fitted
from declarative.structures.structure import Canonical, ClosedForm, Match, Show, Structure


@dataclass(frozen=True)
class Ball:
    """``weight * ||y - centre||^(2 or 1) <= level``, the factor inside the norm taken into the weight."""

    weight: Expression
    centre: Expression
    level: Expression
    squared: bool


@final
@dataclass(frozen=True)
class L2BallMatch(Match):
    """The centre of the quadratic, drawn to the ball's until it is inside."""

    structure = "l2_ball"
    local_names = frozenset({"v", "centre", "away", "distance", "radius", "outside", "t"})
    form: SeparableForm
    ball: Ball

    @property
    def stated_locally(self) -> bool:
        return True

    @property
    def radius(self) -> Expression:
        ratio = over(self.ball.level, self.ball.weight)
        return call("sqrt", ratio) if self.ball.squared else ratio

    def summary(self, show: Show) -> str:
        around = "" if is_zero(self.ball.centre) else f" around {show(self.ball.centre)}"
        centre, radius = show(self.form.centre), show(self.radius)
        return f"{self.form.variable.name} = projection of {centre} onto the ball of radius {radius}{around}"

    def closed_form(self, show: Show) -> ClosedForm:
        y, shape = show(self.form.variable), self.form.variable.shape
        lines, centre = [f"v = {show(self.form.centre)}"], fitted(show, self.ball.centre, shape)
        shifted = not is_zero(self.ball.centre)
        if shifted and not centre.isidentifier():
            lines.append(f"centre = {centre}")
            centre = "centre"
        axes = "-1" if len(shape) == 1 else "(-2, -1)"
        radius = fitted(show, over(self.ball.level, self.ball.weight), shape)
        like = "torch.zeros_like(distance) + " if radius[0] in "-0123456789(" and "[" not in radius else ""
        lines += [
            f"away = v - {centre}" if shifted else "away = v",
            f"distance = torch.linalg.vector_norm(away, dim={axes}, keepdim=True)",
            f"radius = torch.sqrt({like}{radius})" if self.ball.squared else f"radius = {like}{radius}",
            "outside = distance > radius",
            "away = torch.where(outside, radius, 1) / torch.where(outside, distance, 1) * away",
            f"{y} = torch.where(radius >= 0, {f'{centre} + ' if shifted else ''}away, torch.nan)",
        ]
        if self.ball.squared:
            scale = over(self.form.curvature, times(Constant(2.0), self.ball.weight))
            over_radius = "torch.where(outside, distance / torch.where(outside, radius, 1) - 1, 0)"
        else:
            scale = over(self.form.curvature, self.ball.weight)
            over_radius = "torch.where(outside, distance - radius, 0)"
        slope = fitted(show, scale, shape)
        lines.append(f"t = {over_radius}" if slope == "1" else f"t = {slope} * {over_radius}")
        flat = y if len(shape) == 1 else f"flatten({y}, 2)"
        return ClosedForm(
            doc=f"{y} is v where it is inside the ball, else the point of the sphere on the way from its centre to v.",
            lines=tuple(lines),
            point=(flat, f"{flat}[..., :0]", "t" if len(shape) == 1 else "t[..., 0]"),
            fields=("x", "eq", "ineq"),
            uses=() if len(shape) == 1 else ("flatten",),
        )

    def derivative(self, show: Show) -> tuple[str, ...]:
        y = self.form.variable.name
        return (
            f"u = (v - c)/||v - c||, v = {show(self.form.centre)}",
            f"d{y}/dv = (r/||v - c||) (I - u u') outside of the ball, I inside; by autograd through the formula",
            "a point exactly on the sphere (weakly active) counts as inside",
        )


@final
class L2Ball(Structure):
    name = "l2_ball"
    doc = "an isotropic quadratic in a Euclidean ball, such as the projection onto it: one scaling"

    def recognise(self, canonical: Canonical) -> L2BallMatch | Mismatch:
        form = canonical.separable
        if isinstance(form, Mismatch):
            return form
        constraint = only_constraint(form)
        if isinstance(constraint, Mismatch):
            return constraint
        if form.curvature.rank or not form.variable.rank:
            return Mismatch("the quadratic term is not a multiple of the identity")
        parts = one_function(constraint)
        ball = None if parts is None else _ball(parts[0], parts[1], form.variable)
        if ball is None:
            return Mismatch("the constraint is not on a Euclidean norm of the variable", constraint.span)
        return L2BallMatch(form, ball)


def _ball(term: Other | Squares, level: Expression, variable: Variable) -> Ball | None:
    if isinstance(term, Squares):
        inner = term.inner if term.metric is None and not term.ranges else None
    else:
        function = whole_function(term, variable)
        inner = function.args[0] if function is not None and function.atom.name in ("norm2", "norm_fro") else None
    parts = None if inner is None else affine_parts(inner)
    m = None if parts is None else parts.of(variable)
    f = number(m.factor) if isinstance(m, Scale) and m.shape == variable.shape else None
    if parts is None or not f:
        return None
    centre = over(minus(parts.offset), Constant(f)) if not is_zero(parts.offset) else Full(0.0, variable.shape)
    squared = isinstance(term, Squares)
    return Ball(times(Constant(f * f if squared else abs(f)), term.weight), centre, level, squared)
