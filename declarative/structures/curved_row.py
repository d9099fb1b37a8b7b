"""Entropies and powers with bounds and one coupling row: masked and capped softmax, entmax, one scalar root each.

    minimise    c'y + sum_i w_i f(y_i)   subject to  least <= a'y <= most, l <= y <= u

with f(y) = y log y, or y^p for a p between 1 and 2, on y >= 0. Given the multiplier t of the row the entries part: with
phi the inverse of f', y_i = clip(phi((-c_i - t a_i) / w_i), l_i, u_i), and a'y does not increase in t.

Theorem. Let y solve the problem and let F, the entries off their bounds, have an a_i that is not zero. The KKT system

    c_i + w_i f'(y_i) + t a_i = 0 on F,    y_i = u_i or l_i off F,    a'y = b

has the Jacobian [diag(w f''(y)), a; a', 0] in (y_F, t), which is regular since w f'' > 0. So where no bound and no row
is weakly active (F, y, t) is locally a function of the data, and with D = 1/(w f''(y)) on F, zero off it,

    dy = D (-dc - t da - f'(y) dw) - D a dt  on F,    dt = (a'dy|_t + y'da - db) / (a'D a),

dy|_t being dy at a fixed t: the first term on F, and du_i or dl_i where a bound holds. For the entropy D = y / w, for
the power D = y^(2-p) / (w p (p-1)): both are finite at y = 0.

A bound u_i of zero is a mask: y_i = 0, the rest is the problem without that entry. Bounds whose sum stays below the
level leave no solution. A bound y >= 0 is the curve's own domain and has multiplier zero; that of u_i is
-c_i - t a_i - w_i f'(u_i), infinite for an entropy at u_i = 0. Powers of exponent 1.5 on the simplex are 1.5-entmax.

Reference: Blondel, Martins and Niculae, Learning with Fenchel-Young losses, 2020; Peters, Niculae and Martins, Sparse
sequence-to-sequence models, 2019 (entmax); Malaviya, Ferreira and Martins, Sparse and constrained attention for neural
machine translation, 2018 (budgets).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import final

from declarative.atoms import constants
from declarative.canonical.algebra import ONE, call, is_zero, minus, number, over, plus, strip, times
from declarative.canonical.linear_map import Scale, affine_parts
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import Other
from declarative.canonical.separable import Coupling, SeparableForm, whole_function
from declarative.ir.expression import Call, Constant, Expression, Variable
from declarative.ir.matrices import Full
from declarative.structures.printed import bound_duals, factor, fitted, named_bounds, one_number, row_duals
from declarative.structures.structure import Canonical, ClosedForm, Match, ProblemSource, Show, Structure


@dataclass(frozen=True)
class Curve:
    """``sum(scale * f(y)) - scores @ y``, f of the exponent 1 being y log y; the scale is a scalar or a vector."""

    exponent: float
    scale: Expression
    scores: Expression

    @property
    def is_entropy(self) -> bool:
        return self.exponent == 1.0


@final
@dataclass(frozen=True)
class CurvedRowMatch(Match):
    """Every entry where the marginal of its curve meets its score less its share of the row's multiplier."""

    structure = "curved_row"
    local_names = frozenset({"z", "a", "d", "t", "rest", "lower", "upper", "bounds"})
    form: SeparableForm
    curve: Curve
    coupling: Coupling

    def summary(self, show: Show) -> str:
        y, scores = self.form.variable.name, show(self.curve.scores)
        kind = "entropy" if self.curve.is_entropy else f"power {self.curve.exponent:g}"
        return f"{y} = maximiser of {scores} with {kind}, so that {self._row(show)}{self._within()}"

    def _row(self, show: Show) -> str:
        weights = "" if self._weights == ONE else f"{show(self._weights)} times "
        total = f"the sum of {weights}{self.form.variable.name}"
        if self.coupling.is_equality:
            return f"{total} is {show(self.coupling.most)}"
        least = "" if self.coupling.least is None else f" and at least {show(self.coupling.least)}"
        return f"{total} is at most {show(self.coupling.most)}{least}"

    def _within(self) -> str:
        return ", within bounds" if self.form.bounds else ""

    def closed_form(self, show: Show) -> ClosedForm:
        y, shape, curve = show(self.form.variable), self.form.variable.shape, self.curve
        naming, lower, upper = named_bounds(self.form, show)
        lines = [f"z = {show(over(curve.scores, curve.scale))}"]
        a, d = (fitted(show, e, shape) for e in (self._weights, over(self._weights, curve.scale)))
        given = ["z", fitted(show, self.coupling.most, shape), *self._exponent, *self._least(show)]
        for name, keyword, text, plain in (("a", "weights", a, "1"), ("d", "slopes", d, a)):
            if text != plain:
                lines += [] if text.isidentifier() or text.isdecimal() else [f"{name} = {text}"]
                given.append(f"{keyword}={text if text.isidentifier() or text.isdecimal() else name}")
        given += [f"{name}={text}" for name, text in (("lower", lower), ("upper", upper)) if text not in (None, "0")]
        lines += [
            *naming,
            f"{y}, t, rest = curve_to_level({', '.join(given)})",
            f"bounds = {factor(show, curve.scale, shape)}rest",
        ]
        duals = row_duals(self.coupling, "point.row[..., 0]") | bound_duals(self.form, "point.bounds")
        return ClosedForm(
            doc=f"{y} has the marginals z - t * d where its bounds leave it free, with the t that makes the row hold.",
            lines=tuple(lines),
            point=(y, "t", "bounds"),
            fields=("x", "row", "bounds"),
            duals=duals,
            uses=("curve_to_level",),
        )

    def problem(self, show: Show) -> ProblemSource:
        shape = self.form.variable.shape
        values = [("scale", self.curve.scale), ("weights", self._weights), ("level", self.coupling.most)]
        values += [(n, e) for n, e in (("lower", self.form.lower), ("upper", self.form.upper)) if e is not None]
        texts = [(name, fitted(show, value, shape)) for name, value in values]
        given = [f"{name}={text}" for name, text in texts if text != ("0" if name == "lower" else "1")]
        given = [f"scores={show(self.curve.scores)}", *given, *self._least(show), *self._exponent]
        if self.form.upper is not None and fitted(show, self.form.upper, shape) == "1":
            given.append("upper=1")
        names = [next((b.origin for b in self.form.bounds if b.factor * sign > 0), None) for sign in (-1, 1)]
        rows = [(name or self.form.variable.name, "ineq", shape) for name in names]
        row = self.coupling.rows[0].constraint.origin or "sum"
        return ProblemSource(
            "CurvedRow",
            (f"return CurvedRow({', '.join(given)})",),
            (*rows, (row, "eq" if self.coupling.is_equality else "ineq", ())),
        )

    @property
    def _weights(self) -> Expression:
        """The weights of the row, a scalar where all are the same."""
        return self.coupling.row.each or self.coupling.weights

    @property
    def _exponent(self) -> list[str]:
        return [] if self.curve.is_entropy else [f"exponent={self.curve.exponent!r}"]

    def _least(self, show: Show) -> list[str]:
        if self.coupling.is_equality:
            return []
        least = self.coupling.least
        return [f"least={'-math.inf' if least is None else fitted(show, least, self.form.variable.shape)}"]

    def derivative(self, show: Show) -> tuple[str, ...]:
        y, p, w = self.form.variable.name, self.curve.exponent, show(self.curve.scale)
        inverse = y if p == 1.0 else f"{y}^{2 - p:g} / {p * (p - 1):g}"
        return (
            f"D = diag({inverse} / w) on the entries of {y} off their bounds, 0 elsewhere, w = {w}",
            f"d{y}/ds = D - D a a' D / (a'D a), symmetric, with s = {show(self.curve.scores)}, "
            f"a = {show(self.coupling.weights)}; D alone where the row does not bind",
            f"d{y}_i = du_i where a bound holds an entry, and the others make up for a_i du_i along D a",
            "by autograd through two Newton steps at the root, which give derivatives of orders one to three",
            "a bound or a row met exactly with a zero multiplier (weakly active) counts as not binding",
        )


@final
class CurvedRow(Structure):
    name = "curved_row"
    doc = "an entropy or a power with bounds and one linear row (masked or capped softmax, entmax): one scalar root"

    def recognise(self, canonical: Canonical) -> CurvedRowMatch | Mismatch:
        form = canonical.separable
        if isinstance(form, Mismatch):
            return form
        found = curve_of(form)
        if isinstance(found, Mismatch):
            return found
        coupling = form.coupling
        if isinstance(coupling, Mismatch):
            return coupling
        return CurvedRowMatch(form, found, coupling)


def curve_of(form: SeparableForm) -> Curve | Mismatch:
    """The objective as one curve and a linear term, or why it is none."""
    variable = form.variable
    if variable.rank != 1:
        return Mismatch("the variable is not a vector", variable.at)
    if form.is_curved:
        return Mismatch("the objective has a quadratic term")
    curves: list[Curve] = []
    for term in form.functions:
        curve = _curve(term, variable)
        if curve is None:
            return Mismatch("the objective has a term besides a linear one and an entropy or a power", term.span)
        curves.append(curve)
    if not curves:
        return Mismatch("the objective has no entropy")
    if len({c.exponent for c in curves}) > 1:
        return Mismatch("the objective has curves of different exponents")
    scale = reduce(_sum_of_scales, (c.scale for c in curves))
    if is_zero(scale) or (number(scale) or 1.0) < 0:
        return Mismatch("the entropies cancel")
    return Curve(curves[0].exponent, scale, minus(plus(form.gradient, *(minus(c.scores) for c in curves))))


def _sum_of_scales(one: Expression, other: Expression) -> Expression:
    if one.rank == other.rank:
        return plus(one, other)
    scalar, vector = (one, other) if not one.rank else (other, one)
    return plus(vector, times(scalar, Full(1.0, vector.shape)))


def _curve(term: Other, variable: Variable) -> Curve | None:
    """The term as a curve of the variable: a weighted sum of entropies of it, or of powers."""
    function = whole_function(term, variable)
    if function is None or function.atom.name != "sum":
        return None
    inner, weight = strip(function.args[0]), term.weight
    if isinstance(inner, Call) and inner.atom.name == "mul":
        given = next((a for a in inner.args if a.is_constant), None)
        if given is None:
            return None
        weight = times(weight, given)
        inner = strip(inner.args[1] if inner.args[0] is given else inner.args[0])
    if not isinstance(inner, Call) or not inner.args:
        return None
    s = _multiple(inner.args[0], variable)
    return None if s is None else _of_function(inner, weight, s, variable)


def _multiple(e: Expression, variable: Variable) -> float | None:
    """s of ``s * variable`` with a positive number."""
    parts = affine_parts(e)
    m = None if parts is None or not is_zero(parts.offset) else parts.of(variable)
    s = number(m.factor) if isinstance(m, Scale) and m.shape == variable.shape == e.shape else None
    return s if s is not None and s > 0 else None


def _of_function(e: Call, weight: Expression, s: float, variable: Variable) -> Curve | None:
    """``weight * e`` with e an entropy of s y (s y log y + s y log s, relative to a prior s y log(1/prior) more)."""
    ones, scale = Full(1.0, variable.shape), times(Constant(s), weight)
    match e.atom.name:
        case "entr":
            scale = minus(scale)
            return Curve(1.0, scale, times(times(Constant(-math.log(s)), scale), ones))
        case "rel_entr" | "kl_div" if e.args[1].is_constant:
            prior = over(e.args[1] if e.args[1].rank else times(e.args[1], ones), Constant(s))
            scores = times(scale, _logarithm(prior))
            return Curve(1.0, scale, plus(scores, times(scale, ones)) if e.atom.name == "kl_div" else scores)
        case "power" if 1.0 < (p := constants.number(e.args[1]) or 0.0) < 2.0:
            return Curve(p, times(Constant(s**p), weight), Full(0.0, variable.shape))
    return None


def _logarithm(prior: Expression) -> Expression:
    """log(prior), a number where all its entries are one."""
    value = one_number(prior)
    return call("log", prior) if value is None or value <= 0 else Full(math.log(value), prior.shape)
