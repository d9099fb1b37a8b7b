"""Euclidean projection onto the capped simplex {y : sum(y) = s, l <= y <= u}: one threshold.

    minimise    p/2 ||y||^2 + q'y   subject to  1'y = s, l <= y <= u

With v = -q/p the solution is y = clip(v - t, l, u), the threshold t making the entries sum to s; either bound may be
missing. On the entries F off their bounds the derivative is diag(1_F) - 1_F 1_F' / |F|; an entry exactly at its bound
(weakly active) counts as in F. Duals: nu = p t, and p (v - t - y) of the bounds. Budgeted attention, soft top-k (s = k,
u = 1) and sparse selections are such projections.

Reference: Wang and Lu, Projection onto the capped simplex, 2015; Amos, Koltun and Kolter, The limited multi-label
projection layer, 2019 (its Euclidean analogue).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import over
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.quadratic import QuadraticForm
from declarative.canonical.separable import CouplingRow, SeparableForm
from declarative.structures.coupling_row import equal_sum
from declarative.structures.printed import factor, fitted, named_bounds
from declarative.structures.structure import Canonical, ClosedForm, Match, Show, Structure


@final
@dataclass(frozen=True)
class CappedSimplexMatch(Match):
    """``variable`` is the projection of the centre onto the entries between bounds with a given sum."""

    structure = "capped_simplex"
    local_names = frozenset({"v", "t", "nu", "lower", "upper", "bounds"})
    form: SeparableForm
    row: CouplingRow
    program: QuadraticForm

    @property
    def stated_as(self) -> QuadraticForm:
        return self.program

    def summary(self, show: Show) -> str:
        centre, total = show(self.form.centre), show(self.row.total)
        return f"{self.form.variable.name} = projection of {centre} onto sum {total} within bounds"

    def closed_form(self, show: Show) -> ClosedForm:
        y, shape, p = show(self.form.variable), self.form.variable.shape, self.form.curvature
        naming, lower, upper = named_bounds(self.form, show)
        assert self.row.each is not None
        given = ["v", fitted(show, self.row.total, shape)]
        given += [f"{name}={text}" for name, text in (("lower", lower), ("upper", upper)) if text is not None]
        lines = [
            f"v = {show(self.form.centre)}",
            *naming,
            f"{y}, t = clip_to_level({', '.join(given)})",
            f"nu = {factor(show, over(p, self.row.each), shape)}t",
            f"bounds = {factor(show, p, shape)}(v - t - {y})",
        ]
        return ClosedForm(
            doc=f"{y} = v - t clipped to its bounds, with the threshold t that gives the entries their sum.",
            lines=tuple(lines),
            point=(y, "nu", "bounds"),
            fields=("x", "eq", "bounds"),
            uses=("clip_to_level",),
        )

    def derivative(self, show: Show) -> tuple[str, ...]:
        y = self.form.variable.name
        return (
            f"F = the entries of {y} off their bounds, with f its indicator",
            f"d{y}/dv = diag(f) - f f' / |F|, symmetric, with v = {show(self.form.centre)}",
            "by autograd through the formula of the threshold over F; the search for F is not differentiated",
            "an entry exactly at a bound with a zero multiplier (weakly active) counts as in F",
        )


@final
class CappedSimplex(Structure):
    name = "capped_simplex"
    doc = "the projection onto the entries between bounds with a given sum: one threshold"

    def recognise(self, canonical: Canonical) -> CappedSimplexMatch | Mismatch:
        found = equal_sum(canonical)
        if isinstance(found, Mismatch):
            return found
        if not found[0].bounds:
            return Mismatch("there are no bounds")
        return CappedSimplexMatch(*found)
