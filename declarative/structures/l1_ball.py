"""Separable quadratic in a weighted l1 ball, the Euclidean projection onto it among them: one threshold.

    minimise    sum_i (p_i/2 y_i^2 + q_i y_i)   subject to  sum_i a_i |y_i - c_i| <= r

With v = -q/p the entries keep the sides that v has of the centre c, and their distances solve a problem on the orthant:
|y_i - c_i| = max(|v_i - c_i| - t a_i/p_i, 0) with the least t >= 0 that brings the weighted sum to r. The multiplier of
the constraint is t. Inside the ball y = v and t = 0; on its surface with v there too (weakly active) it counts as
inside.

It is stated as the quadratic program with z_i >= |y_i - c_i|; its two rows share t a_i as soft thresholding's do.

Reference: Duchi, Shalev-Shwartz, Singer and Chandra, Efficient projections onto the l1-ball, 2008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import ONE, is_zero, minus, over, plus, times
from declarative.canonical.linear_map import affine_parts
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import Affine, NormalConstraint, Other, Squares, split
from declarative.canonical.quadratic import QuadraticForm
from declarative.canonical.separable import SeparableForm
from declarative.ir.expression import Constant, Expression
from declarative.structures.printed import factor, fitted, one_number, stated
from declarative.structures.soft_threshold import AbsoluteValues, absolute_values
from declarative.structures.structure import Canonical, ClosedForm, Match, Show, Structure


@final
@dataclass(frozen=True)
class L1BallMatch(Match):
    """The centre of the quadratic, drawn towards the ball's until it is inside."""

    structure = "l1_ball"
    local_names = frozenset({"v", "centre", "away", "size", "weight", "t", "s"})
    form: SeparableForm
    ball: AbsoluteValues
    level: Expression
    program: QuadraticForm

    @property
    def stated_as(self) -> QuadraticForm:
        return self.program

    def summary(self, show: Show) -> str:
        centre, level = show(self.form.centre), show(self.level)
        return f"{self.form.variable.name} = projection of {centre} onto the l1 ball up to {level}"

    def closed_form(self, show: Show) -> ClosedForm:
        y, shape, p = show(self.form.variable), self.form.variable.shape, self.form.curvature
        f = self.ball.factor
        lines, centre = [f"v = {show(self.form.centre)}"], fitted(show, self.ball.centre, shape)
        shifted = not is_zero(self.ball.centre)
        if shifted and not centre.isidentifier():
            lines.append(f"centre = {centre}")
            centre = "centre"
        lines.append(f"away = v - {centre}" if shifted else "away = v")
        weights = times(Constant(abs(f)), self.ball.weights)
        given = ["away.abs()", fitted(show, self.level, shape)]
        unit = one_number(weights) == 1.0 and not p.rank
        if not unit:
            given += [
                f"weights={fitted(show, weights, shape)}",
                f"slopes={fitted(show, over(weights, p), shape)}",
            ]
        lines += [
            f"size, t = clip_to_level({', '.join(given)}, lower=0, at_most=True)",
            f"{y} = {f'{centre} + ' if shifted else ''}torch.where(t > 0, size * away.sign(), away)",
        ]
        scale = factor(show, p, shape)
        if unit and scale:
            lines.append(f"t = {scale}t")
        weight = fitted(show, self.ball.weights, shape)
        lines.append("weight = t.expand_as(size)" if weight == "1" else f"weight = {weight} * t")
        gap = f"({y} - {centre})" if shifted else y
        slope = f"{scale}(v - {y})" if f == 1.0 else f"{scale}(v - {y}) / {f:g}"
        side = f"-{gap}.sign()" if f < 0 else f"{gap}.sign()"
        lines.append(f"s = torch.where(size == 0, {slope}, weight * {side})")
        distance = "size" if abs(f) == 1.0 else f"{abs(f):g} * size"
        ineq = "torch.cat([t, (weight + s) / 2, (weight - s) / 2], -1)"
        return ClosedForm(
            doc=f"{y} is v with its distances from {centre if shifted else 'zero'} shortened until they add up to r.",
            lines=tuple(lines),
            point=(f"torch.cat([{y}, {distance}], -1)", ineq),
            fields=("x", "ineq"),
            uses=("clip_to_level",),
        )

    def derivative(self, show: Show) -> tuple[str, ...]:
        y = self.form.variable.name
        return (
            f"F = the entries of {y} off the centre, g = a sign(v - c) on F, 0 elsewhere; v = {show(self.form.centre)}",
            f"d{y} = dv - (g/p) (g'dv) / (g'(g/p)) on F where the constraint binds, dv where it does not",
            "by autograd through the formula of the threshold over F; the search for F is not differentiated",
            "a constraint exactly met with a zero multiplier (weakly active) counts as not binding",
        )


@final
class L1Ball(Structure):
    name = "l1_ball"
    doc = "a separable quadratic in a weighted l1 ball, such as the projection onto it: one threshold"

    def recognise(self, canonical: Canonical) -> L1BallMatch | Mismatch:
        form, program = canonical.separable, stated(canonical.quadratic, added=1)
        if isinstance(form, Mismatch):
            return form
        if isinstance(program, Mismatch):
            return program
        constraint = only_constraint(form)
        if isinstance(constraint, Mismatch):
            return constraint
        parts = one_function(constraint)
        ball = None if parts is None or not isinstance(parts[0], Other) else absolute_values(parts[0], form.variable)
        if parts is None or ball is None or form.variable.rank != 1:
            return Mismatch("the constraint is not on a sum of absolute values", constraint.span)
        return L1BallMatch(form, ball, parts[1], program)


def only_constraint(form: SeparableForm) -> NormalConstraint | Mismatch:
    """The one constraint of a separable quadratic without bounds and rows."""
    if not form.is_curved or form.functions:
        return Mismatch("the objective is not a separable quadratic")
    if form.lower is not None or form.upper is not None or form.equalities or form.inequalities:
        return Mismatch("there are bounds or linear constraints")
    if len(form.rest) != 1 or form.rest[0].relation != "<=" or form.rest[0].ranges or form.rest[0].expression.rank:
        return Mismatch("there is not exactly one constraint, on a convex function")
    return form.rest[0]


def one_function(constraint: NormalConstraint) -> tuple[Other | Squares, Expression] | None:
    """``function <= level`` with a level of parameters, if the constraint says that."""
    functions: list[Other | Squares] = []
    levels: list[Expression] = []
    for term in split(ONE, constraint.expression, ()):
        if not isinstance(term, Affine):
            functions.append(term)
            continue
        parts = None if term.ranges else affine_parts(term.expression)
        if parts is None or parts.maps:
            return None
        levels.append(minus(times(term.weight, parts.offset)))
    if len(functions) != 1 or not levels:
        return None
    return functions[0], plus(*levels)
