"""Softmax with a budget: a linear objective with an entropy on the simplex, under one linear inequality.

    minimise    c'y + tau sum_i y_i log y_i   subject to  1'y = s, a'y <= b

Given the multiplier t >= 0 of the budget, the problem is a softmax of tilted scores, y = s softmax(-(c + t a) / tau),
and its cost a'y falls in t: one scalar root. With nu that of the sum, c_i + tau (log y_i + 1) + nu + t a_i = 0. Where
the plain softmax keeps within the budget t = 0. With V = (diag(y) - yy'/s) / tau and w = Va the derivative by the
scores is V - ww'/(a'w) where the budget binds.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, section 5.5.3 and exercise 4.47.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import ONE, is_zero, over
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.separable import CouplingRow
from declarative.ir.expression import Variable
from declarative.structures.curved_row import Curve, curve_of
from declarative.structures.printed import factor, fitted, one_number
from declarative.structures.structure import Canonical, ClosedForm, Match, Show, Structure


@final
@dataclass(frozen=True)
class BudgetSoftmaxMatch(Match):
    """``total * softmax`` of tilted scores."""

    structure = "budget_softmax"
    local_names = frozenset({"logits", "a", "d", "t", "nu"})
    variable: Variable
    curve: Curve
    row: CouplingRow
    budget: CouplingRow
    order: tuple[str, ...]
    """The program's inequalities, in order: ``budget``, or ``bound`` for one that says y >= 0."""

    @property
    def stated_locally(self) -> bool:
        return True

    def summary(self, show: Show) -> str:
        logits, cost, limit = (
            show(e) for e in (over(self.curve.scores, self.curve.scale), self.budget.weights, self.budget.level)
        )
        return f"{self.variable.name} = softmax({logits}) tilted until its cost in {cost} is at most {limit}"

    def closed_form(self, show: Show) -> ClosedForm:
        y, shape, tau = show(self.variable), self.variable.shape, self.curve.scale
        total = fitted(show, self.row.total, shape)
        a = show(self.budget.weights)
        lines = [f"logits = {show(over(self.curve.scores, tau))}"]
        if not a.isidentifier():
            lines.append(f"a = {a}")
            a = "a"
        d = a if tau == ONE else "d"
        if tau != ONE:
            lines.append(f"d = {show(over(self.budget.weights, tau))}")
        given = ["logits", a, d, fitted(show, self.budget.level, shape)]
        numeric = one_number(self.budget.level) is not None
        if numeric:
            given[-1] = f"logits.new_full((1,), {given[-1]})"
        if total != "1":
            given.append(total)
        whole = "" if total == "1" else f" - torch.log({total})" if one_number(self.row.total) is None else ""
        if one_number(self.row.total) not in (None, 1.0):
            whole = f" - math.log({total})"
        level = f"torch.logsumexp(logits - t * {d}, -1, keepdim=True) - 1{whole}"
        assert self.row.each is not None
        slope = factor(show, over(tau, self.row.each), shape)
        lines += [
            f"{y}, t = tilted_softmax({', '.join(given)})",
            f"nu = {slope}({level})" if slope else f"nu = {level}",
        ]
        rows = ["t" if row == "budget" else f"torch.zeros_like({y})" for row in self.order]
        return ClosedForm(
            doc=f"{y} is the softmax of the logits less t times the cost, with the least t that keeps to the budget.",
            lines=tuple(lines),
            point=(y, "nu", rows[0] if len(rows) == 1 else f"torch.cat([{', '.join(rows)}], -1)"),
            fields=("x", "eq", "ineq"),
            uses=("tilted_softmax",),
        )

    def derivative(self, show: Show) -> tuple[str, ...]:
        y = self.variable.name
        return (
            f"V = (diag({y}) - {y} {y}' / total) / temperature, w = V a with a the cost",
            f"d{y}/d(scores) = V - w w' / (a'w) where the budget binds, V where it does not",
            "by autograd through two Newton steps at the root, which give derivatives of orders one to three",
            "a budget met exactly with a zero multiplier (weakly active) counts as not binding",
        )


@final
class BudgetSoftmax(Structure):
    name = "budget_softmax"
    doc = "a linear objective with an entropy on the simplex under one linear inequality: one scalar root"

    def recognise(self, canonical: Canonical) -> BudgetSoftmaxMatch | Mismatch:
        form = canonical.separable
        if isinstance(form, Mismatch):
            return form
        curve = curve_of(form)
        if isinstance(curve, Mismatch):
            return curve
        if not curve.is_entropy or curve.scale.rank:
            return Mismatch("the entropy is a power, or weighs the entries differently")
        if len(form.equalities) != 1 or len(form.inequalities) != 1:
            return Mismatch("there is not one equality on the sum and one inequality")
        row, budget = form.equalities[0], form.inequalities[0]
        if row.each is None:
            return Mismatch("the equality weighs the entries differently", row.constraint.span)
        if form.rest or form.upper is not None or not (form.lower is None or is_zero(form.lower)):
            return Mismatch("there is a constraint besides the sum, the budget and nonnegativity")
        inequalities = [c for c in form.normal.constraints if c.relation == "<="]
        order = tuple("budget" if c is budget.constraint else "bound" for c in inequalities)
        return BudgetSoftmaxMatch(form.variable, curve, row, budget, order)
