"""Isotropic quadratic over positive semidefinite matrices, the projection onto their cone among them.

    minimise    p/2 ||X||^2 + <Q, X>   subject to  X symmetric and positive semidefinite

With V the symmetric part of -Q/p = V_+ - V_-, split by the signs of its eigenvalues, the solution is X = V_+ and the
multiplier of the cone is p V_-. It is smooth wherever V is regular, repeated eigenvalues or not; an eigenvalue exactly
zero (weakly active) counts half.

Reference: Higham, Computing a nearest symmetric positive semidefinite matrix, 1988; Malick and Sendov, Clarke
generalized Jacobian of the projection onto the cone of positive semidefinite matrices, 2006.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.algebra import ONE, is_zero, minus, number, over
from declarative.canonical.linear_map import Scale, affine_parts
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import NormalConstraint
from declarative.canonical.separable import separable_objective
from declarative.ir.expression import Constant, Expression, Variable
from declarative.structures.printed import factor
from declarative.structures.structure import Canonical, ClosedForm, Match, ProblemSource, Show, Structure


@final
@dataclass(frozen=True)
class SemidefiniteMatch(Match):
    """The semidefinite part of ``target``; ``origin`` names ``factor * X in psd``, None where an attribute says it."""

    structure = "semidefinite_projection"
    local_names = frozenset({"V", "Z"})
    variable: Variable
    target: Expression
    curvature: Expression
    origin: str | None
    factor: float

    def summary(self, show: Show) -> str:
        return f"{self.variable.name} = projection of {show(self.target)} onto the positive semidefinite matrices"

    def closed_form(self, show: Show) -> ClosedForm:
        X, p = show(self.variable), over(self.curvature, Constant(self.factor))
        return ClosedForm(
            doc=f"{X} is the part of the symmetric matrix V whose eigenvalues are positive.",
            lines=(
                f"V = {show(self.target)}",
                f"{X}, Z = semidefinite_parts((V + V.mT) / 2)",
                f"Z = {factor(show, p, self.variable.shape)}Z",
            )[: 2 if p == ONE else 3],
            point=(f"flatten({X}, 2)", "flatten(Z, 2)"),
            fields=("x", "psd"),
            duals={} if self.origin is None else {self.origin: "psd"},
            uses=("semidefinite_parts", "flatten"),
        )

    def problem(self, show: Show) -> ProblemSource:
        line = f"return SemidefiniteProjection({show(self.target)}, {show(self.curvature)})"
        return ProblemSource("SemidefiniteProjection", (line,), ())

    def derivative(self, show: Show) -> tuple[str, ...]:
        X = self.variable.name
        return (
            f"V = the symmetric part of {show(self.target)} = Q diag(l) Q'",
            f"{X} = (V + |V|) / 2, and d|V| solves |V| d|V| + d|V| |V| = d(V^2): a division by |l_i| + |l_j|",
            "repeated eigenvalues do no harm; one exactly zero (weakly active) counts half",
        )


@final
class SemidefiniteProjection(Structure):
    name = "semidefinite_projection"
    doc = "an isotropic quadratic over positive semidefinite matrices: negative eigenvalues are cut off"

    def recognise(self, canonical: Canonical) -> SemidefiniteMatch | Mismatch:
        normal = canonical.normal
        if normal is None:
            return Mismatch("the problem is not convex")
        if len(normal.variables) != 1 or not normal.variables[0].attributes & {"symmetric", "psd"}:
            return Mismatch("there is not exactly one variable, a symmetric matrix")
        (variable,) = normal.variables
        if variable.attributes - {"symmetric", "psd"}:
            return Mismatch(f"`{variable.name}` has other attributes", variable.at)
        if len(normal.constraints) != 1:
            return Mismatch("there is not exactly one constraint, that the variable is positive semidefinite")
        (constraint,) = normal.constraints
        scale = _of_the_variable(constraint, variable)
        if scale is None:
            return Mismatch("the constraint is not that the variable is positive semidefinite", constraint.span)
        objective = separable_objective(normal, variable)
        if isinstance(objective, Mismatch):
            return objective
        curvature, gradient, functions = objective
        if functions or curvature.rank or is_zero(curvature):
            return Mismatch("the objective is not a multiple of a squared distance")
        return SemidefiniteMatch(variable, over(minus(gradient), curvature), curvature, constraint.origin, scale)


def _of_the_variable(constraint: NormalConstraint, variable: Variable) -> float | None:
    """The positive number that the variable stands with in ``number * variable in psd``."""
    if constraint.relation != "psd" or constraint.ranges:
        return None
    parts = affine_parts(constraint.expression)
    m = None if parts is None else parts.of(variable)
    value = number(m.factor) if isinstance(m, Scale) and m.shape == variable.shape else None
    return value if parts is not None and is_zero(parts.offset) and value is not None and value > 0 else None
