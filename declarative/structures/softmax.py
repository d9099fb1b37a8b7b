"""Softmax: a linear objective with an entropy on the simplex.

    minimise    c'y + tau sum_i y_i log y_i   subject to  1'y = s

Stationarity c_i + tau (log y_i + 1) + nu = 0 gives y = s softmax(-c / tau) and
nu = tau (logsumexp(-c / tau) - log s - 1); y is positive, so a bound y >= 0 changes nothing and has multiplier zero.
Temperatures and totals are parameters. An entropy relative to weights p (`rel_entr`, `kl_div`) shifts the scores by
tau log p.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, exercise 4.47 and section 3.3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import ONE, call, is_zero, minus, number, over, plus, times
from declarative.canonical.coefficients import of_linear, total
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import Affine, NormalForm, Other, Squares
from declarative.ir.expression import Call, Expression, Variable
from declarative.ir.matrices import Full
from declarative.ir.shape import Shape
from declarative.structures.simplex import SumRow, nonneg_origins, sum_row
from declarative.structures.structure import Canonical, ClosedForm, Match, ProblemSource, Show, Structure


@final
@dataclass(frozen=True)
class SoftmaxMatch(Match):
    """``variable = total * softmax(scores / temperature)``."""

    structure = "softmax"
    local_names = frozenset({"logits", "share", "nu"})
    variable: Variable
    scores: Expression
    temperature: Expression
    row: SumRow
    nonneg: tuple[str, ...]

    @property
    def logits(self) -> Expression:
        return over(self.scores, self.temperature)

    def summary(self, show: Show) -> str:
        front = "" if self.row.total == ONE else f"{show(self.row.total)} * "
        return f"{self.variable.name} = {front}softmax({show(self.logits)})"

    def closed_form(self, show: Show) -> ClosedForm:
        y, unit = show(self.variable), self.row.total == ONE
        lines = [f"logits = {show(self.logits)}"]
        share = "torch.softmax(logits, -1)"
        level = "torch.logsumexp(logits, -1, keepdim=True) - 1"
        if unit:
            lines.append(f"{y} = {share}")
        else:
            total = show(call("mul", self.row.total, Full(1.0, (self.variable.shape[0],))))
            lines += [f"share = {total}", f"{y} = torch.where(share >= 0, share, torch.nan) * {share}"]
            level += " - torch.log(share[..., :1])"
        slope = over(self.temperature, self.row.factor)
        lines.append(f"nu = {level}" if slope == ONE else f"nu = {_column(slope, show)} * ({level})")
        duals = dict.fromkeys(self.nonneg, "torch.zeros_like(point.x)")
        if self.row.origin is not None:
            duals[self.row.origin] = "point.eq[..., 0]"
        front = "" if unit else f"{show(self.row.total)} "
        return ClosedForm(
            doc=f"{y} = {front}softmax(logits): the point where the gradient is a multiple of one.",
            lines=tuple(lines),
            point=(y, "nu"),
            fields=("x", "eq"),
            duals=duals,
            uses=("torch", "fill") if not unit else ("torch",),
        )

    def problem(self, show: Show) -> ProblemSource:
        values = [("scores", self.scores), ("temperature", self.temperature), ("total", self.row.total)]
        given = [f"{name}={show(value)}" for name, value in values if name == "scores" or value != ONE]
        if self.row.factor != ONE:
            given.append(f"factor={show(self.row.factor)}")
        rows: list[tuple[str, str, Shape]] = [(self.row.origin or "sum", "eq", ())]
        return ProblemSource("EntropicSimplex", (f"return EntropicSimplex({', '.join(given)})",), tuple(rows))

    def derivative(self, show: Show) -> tuple[str, ...]:
        y = self.variable.name
        share = "" if self.row.total == ONE else f" / ({show(self.row.total)})"
        return (
            f"d{y}/dl = diag({y}) - {y} {y}'{share}, symmetric, with l = {show(self.logits)}",
            f"one product with it per cotangent: l_bar = {y} * (y_bar - {y}' y_bar{share})",
            "computed by autograd through torch.softmax; it never divides by an entry of the solution",
        )


def _column(scalar: Expression, show: Show) -> str:
    """A scalar as (*batch, 1), or a number."""
    return show(scalar) if number(scalar) is not None else f"({show(scalar)})[..., None]"


@final
class Softmax(Structure):
    name = "softmax"
    doc = "a linear objective with an entropy on the simplex: `torch.softmax`, with a temperature and a total"

    def recognise(self, canonical: Canonical) -> SoftmaxMatch | Mismatch:
        normal = canonical.normal
        if normal is None:
            return Mismatch("the problem is not convex")
        if len(normal.variables) != 1 or normal.variables[0].rank != 1:
            return Mismatch("there is more than one variable, or it is not a vector")
        (variable,) = normal.variables
        if variable.attributes - {"nonneg"}:
            return Mismatch(f"`{variable.name}` has attributes other than nonneg", variable.at)
        found = entropies(normal, variable)
        if isinstance(found, Mismatch):
            return found
        temperature, slopes = found
        gradient = _gradient(normal, variable)
        if isinstance(gradient, Mismatch):
            return gradient
        rows = [c for c in normal.constraints if c.relation == "=="]
        row = sum_row(rows, variable)
        if isinstance(row, Mismatch):
            return row
        rest = [c for c in normal.constraints if c.relation != "=="]
        nonneg = nonneg_origins(rest, variable)
        if isinstance(nonneg, Mismatch):
            return nonneg
        return SoftmaxMatch(variable, minus(plus(gradient, *slopes)), temperature, row, nonneg)


def _gradient(normal: NormalForm, variable: Variable) -> Expression | Mismatch:
    """c of the linear part."""
    parts = []
    for term in normal.terms:
        if isinstance(term, Affine):
            coefficients = of_linear(term)
            if coefficients is None:
                return Mismatch("the linear term has no coefficient over the whole vector", term.expression.span)
            parts.append(coefficients)
    return total(parts).gradient.get(variable.name, Full(0.0, variable.shape))


def entropies(normal: NormalForm, variable: Variable) -> tuple[Expression, list[Expression]] | Mismatch:
    """tau, and what relative entropies add to the linear coefficient."""
    weights: list[Expression] = []
    slopes: list[Expression] = []
    for term in normal.terms:
        if isinstance(term, Squares):
            return Mismatch("the objective has a quadratic term", term.span)
        if not isinstance(term, Other):
            continue
        entropy = _entropy(term.function, variable)
        if entropy is None or term.ranges:
            return Mismatch("the objective has a term besides a linear one and an entropy", term.span)
        sign, prior, excess = entropy
        weight = times(term.weight, sign)
        weights.append(weight)
        if prior is not None:
            slopes.append(minus(times(weight, call("log", prior))))
        if excess:
            slopes.append(minus(times(weight, Full(1.0, variable.shape))))
    if not weights:
        return Mismatch("the objective has no entropy")
    temperature = plus(*weights)
    if is_zero(temperature):
        return Mismatch("the entropies cancel")
    return temperature, slopes


def _entropy(function: Expression, variable: Variable) -> tuple[Expression, Expression | None, bool] | None:
    """(sign, prior, whether minus the sum is added) where the function is a sum of entropies of the variable."""
    if not isinstance(function, Call) or function.atom.name != "sum" or not isinstance(function.args[0], Call):
        return None
    inner = function.args[0]
    if inner.args[0] != variable:
        return None
    match inner.atom.name:
        case "entr":
            return minus(ONE), None, False
        case "rel_entr" | "kl_div" if inner.args[1].is_constant:
            prior = inner.args[1]
            prior = prior if prior.rank else call("mul", prior, Full(1.0, variable.shape))
            return ONE, prior, inner.atom.name == "kl_div"
    return None
