"""Isotropic quadratic with a nuclear norm: singular-value shrinkage, the proximal map of the nuclear norm.

    minimise    p/2 ||X||^2 + <Q, X> + w ||f (X - C)||_*,    or a sum of several such norms with one C

With V = -Q/p, M = V - C = U diag(s) W' and r = w |f| / p the solution is X = C + U diag(max(s - r, 0)) W'. It is a
smooth function of M and r wherever no singular value equals r, repeated ones or not, and its derivative is computed
without those of U and W; a singular value exactly at r (weakly active) counts half.

Reference: Cai, Candes and Shen, A singular value thresholding algorithm for matrix completion, 2010; Parikh and Boyd,
Proximal algorithms, 2014, section 6.7.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import call, is_call, is_zero, minus, number, over, plus, terms, times
from declarative.canonical.linear_map import Scale, affine_parts
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import Other
from declarative.canonical.separable import SeparableForm, whole_function
from declarative.ir.expression import Expression, Variable
from declarative.ir.matrices import Full
from declarative.structures.structure import Canonical, ClosedForm, Match, ProblemSource, Show, Structure


@final
@dataclass(frozen=True)
class SingularValueMatch(Match):
    """The centre of the quadratic with its singular values shrunk towards ``centre``; ``weight`` is w |f|."""

    structure = "singular_value_shrinkage"
    form: SeparableForm
    weight: Expression
    centre: Expression

    @property
    def threshold(self) -> Expression:
        return over(self.weight, self.form.curvature)

    def summary(self, show: Show) -> str:
        away = show(self.form.centre) if is_zero(self.centre) else f"{show(self.form.centre)} - {show(self.centre)}"
        return f"{self.form.variable.name} = the singular values of {away} shrunk by {show(self.threshold)}"

    def closed_form(self, show: Show) -> ClosedForm:
        X, r = show(self.form.variable), show(self.threshold)
        V, C = show(self.form.centre), show(self.centre)
        line = f"{X} = shrink_singular_values({V}, {r})"
        if not is_zero(self.centre):
            line = f"{X} = {C} + shrink_singular_values({V} - ({C}), {r})"
        return ClosedForm(
            doc=f"{X} has the singular vectors of its argument, and its singular values less {r} where positive.",
            lines=(line,),
            point=(f"flatten({X}, 2)",),
            fields=("x",),
            uses=("shrink_singular_values", "flatten"),
        )

    def problem(self, show: Show) -> ProblemSource:
        given = [show(self.form.centre), show(self.form.curvature), show(self.weight)]
        if not is_zero(self.centre):
            given.append(show(self.centre))
        return ProblemSource("NuclearNormProximal", (f"return NuclearNormProximal({', '.join(given)})",), ())

    def derivative(self, show: Show) -> tuple[str, ...]:
        X = self.form.variable.name
        return (
            f"M = {show(self.form.centre)} = U diag(s) W', r = {show(self.threshold)}",
            "H = [0 M; M' 0] has the eigenvalues +-s",
            f"{X} = M + |H - r I|_12, and d|A| solves |A| d|A| + d|A| |A| = d(A^2): a division by |l_i| + |l_j|",
            "repeated singular values do no harm; one exactly at r (weakly active) counts half",
        )


@final
class SingularValueShrinkage(Structure):
    name = "singular_value_shrinkage"
    doc = "an isotropic quadratic with a nuclear norm: singular values are shrunk"

    def recognise(self, canonical: Canonical) -> SingularValueMatch | Mismatch:
        form = canonical.separable
        if isinstance(form, Mismatch):
            return form
        if form.variable.rank != 2:
            return Mismatch("the variable is not a matrix", form.variable.at)
        if not form.is_curved or form.curvature.rank or not form.functions:
            return Mismatch("the objective is not a multiple of a squared distance and nuclear norms")
        if form.normal.constraints:
            return Mismatch("there are constraints", form.normal.constraints[0].span)
        weights, centres = [], []
        for term in form.functions:
            found = _nuclear_norm(term, form.variable)
            if isinstance(found, Mismatch):
                return found
            weights.append(found[0])
            centres.append(found[1])
        if any(centre != centres[0] for centre in centres):
            return Mismatch("the nuclear norms are of distances from different matrices", form.functions[1].span)
        return SingularValueMatch(form, plus(*weights), centres[0])


def _nuclear_norm(term: Other, variable: Variable) -> tuple[Expression, Expression] | Mismatch:
    """w |f| and C of a term ``w * norm_nuc(f * (X - C))``; f may be a parameter, by which nothing is divided."""
    function = whole_function(term, variable)
    if function is None or function.atom.name != "norm_nuc":
        return Mismatch("the function is not a nuclear norm", term.span)
    parts = affine_parts(function.args[0])
    m = None if parts is None else parts.of(variable)
    if parts is None or not isinstance(m, Scale) or m.shape != variable.shape or m.factor.rank or is_zero(m.factor):
        return Mismatch("the nuclear norm is not of a multiple of the variable", term.span)
    f = m.factor
    size = f if f.sign.is_nonneg else minus(f) if f.sign.is_nonpos else call("abs", f)
    if is_zero(parts.offset):
        return times(size, term.weight), Full(0.0, variable.shape)
    centre = over(minus(parts.offset), f)
    if number(f) is None and any(is_call(t, "div") and t.children[1] in (f, *terms(f)) for t in terms(centre)):
        return Mismatch(
            "the nuclear norm is of a matrix that is not the variable less another, times a scalar", term.span
        )
    return times(size, term.weight), centre
