"""Softmax: a linear objective with an entropy on the simplex.

    minimise    c'y + tau sum_i y_i log y_i   subject to  1'y = s

Stationarity c_i + tau (log y_i + 1) + nu = 0 gives y = s softmax(-c / tau) and
nu = tau (logsumexp(-c / tau) - log s - 1); y is positive, so a bound y >= 0 changes nothing and has multiplier zero.
Temperatures and totals are parameters. An entropy relative to weights p (`rel_entr`, `kl_div`) shifts the scores by
tau log p.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, exercise 4.47 and section 3.3.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import ONE, is_zero, number, over
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.separable import CouplingRow, SeparableForm
from declarative.ir.expression import Expression
from declarative.structures.curved_row import Curve, curve_of
from declarative.structures.printed import bound_duals, factor, fitted
from declarative.structures.structure import Canonical, ClosedForm, Match, ProblemSource, Show, Structure


@final
@dataclass(frozen=True)
class SoftmaxMatch(Match):
    """``variable = total * softmax(scores / temperature)``."""

    structure = "softmax"
    local_names = frozenset({"logits", "total", "nu"})
    form: SeparableForm
    curve: Curve
    row: CouplingRow

    @property
    def logits(self) -> Expression:
        return over(self.curve.scores, self.curve.scale)

    def summary(self, show: Show) -> str:
        front = "" if self.row.total == ONE else f"{show(self.row.total)} * "
        return f"{self.form.variable.name} = {front}softmax({show(self.logits)})"

    def closed_form(self, show: Show) -> ClosedForm:
        y, shape, total = show(self.form.variable), self.form.variable.shape, self.row.total
        lines = [f"logits = {show(self.logits)}"]
        share, level = "torch.softmax(logits, -1)", "torch.logsumexp(logits, -1, keepdim=True)"
        value = number(total)
        if value is None:
            lines.append(f"total = {fitted(show, total, shape)}")
            lines.append(f"{y} = torch.where(total >= 0, total, torch.nan) * {share}")
            level += " - 1 - torch.log(total)"
        else:
            lines.append(f"{y} = {factor(show, total, shape)}{share}")
            level += f" - {1 + math.log(value)!r}" if value != 1.0 else " - 1"
        assert self.row.each is not None
        slope = factor(show, over(self.curve.scale, self.row.each), shape)
        lines.append(f"nu = {slope}({level})" if slope else f"nu = {level}")
        duals = bound_duals(self.form, None)
        if self.row.constraint.origin is not None:
            duals[self.row.constraint.origin] = "point.eq[..., 0]"
        front = "" if total == ONE else f"{show(total)} "
        return ClosedForm(
            doc=f"{y} = {front}softmax(logits): the point where the gradient is a multiple of one.",
            lines=tuple(lines),
            point=(y, "nu"),
            fields=("x", "eq"),
            duals=duals,
        )

    def problem(self, show: Show) -> ProblemSource:
        shape = self.form.variable.shape
        assert self.row.each is not None
        values = [("scale", self.curve.scale), ("weights", self.row.each), ("level", self.row.level)]
        texts = [(name, fitted(show, value, shape)) for name, value in values]
        given = ", ".join([f"scores={show(self.curve.scores)}", *(f"{n}={t}" for n, t in texts if t != "1")])
        row = (self.row.constraint.origin or "sum", "eq", ())
        return ProblemSource("CurvedRow", (f"return CurvedRow({given})",), (row,))

    def derivative(self, show: Show) -> tuple[str, ...]:
        y = self.form.variable.name
        share = "" if self.row.total == ONE else f" / ({show(self.row.total)})"
        return (
            f"d{y}/dl = diag({y}) - {y} {y}'{share}, symmetric, with l = {show(self.logits)}",
            f"one product with it per cotangent: l_bar = {y} * (y_bar - {y}' y_bar{share})",
            "computed by autograd through torch.softmax; it never divides by an entry of the solution",
        )


@final
class Softmax(Structure):
    name = "softmax"
    doc = "a linear objective with an entropy on the simplex: `torch.softmax`, with a temperature and a total"

    def recognise(self, canonical: Canonical) -> SoftmaxMatch | Mismatch:
        form = canonical.separable
        if isinstance(form, Mismatch):
            return form
        curve = curve_of(form)
        if isinstance(curve, Mismatch):
            return curve
        if not curve.is_entropy or curve.scale.rank:
            return Mismatch("the entropy is a power, or weighs the entries differently")
        coupling = form.coupling
        if isinstance(coupling, Mismatch):
            return coupling
        row = coupling.row
        if not coupling.is_equality or row.each is None:
            return Mismatch("the row is not an equality on the sum of the entries", row.constraint.span)
        if form.upper is not None or not (form.lower is None or is_zero(form.lower)):
            return Mismatch("there are bounds besides nonnegativity")
        if (number(row.total) or 1.0) < 0 or is_zero(row.total):
            return Mismatch("the entries add up to no positive number", row.constraint.span)
        return SoftmaxMatch(form, curve, row)
