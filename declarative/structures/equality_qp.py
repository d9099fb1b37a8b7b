"""Quadratic program with equalities alone, or with no constraints: one linear solve, at any sizes.

    minimise    1/2 x'Px + q'x   subject to  Ax = b

Its KKT conditions are linear, [P A'; A 0](x, nu) = (-q, b); least squares, ridge regression, Gaussian conditioning and
the projection onto an affine set {x : Ax = b} are such programs. There is no active set, so the solution is a smooth
function of the data wherever P is positive definite on the null space of A and the rows of A are independent.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, section 10.1.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.mismatch import Mismatch
from declarative.canonical.quadratic import QuadraticForm
from declarative.structures.structure import Canonical, Match, Show, Structure


@final
@dataclass(frozen=True)
class EqualityQPMatch(Match):
    """The quadratic form to assemble; it has no inequality and no bound."""

    structure = "equality_qp"
    form: QuadraticForm

    def summary(self, show: Show) -> str:
        if self.form.equalities:
            return "quadratic program with equalities, one linear solve"
        return "unconstrained quadratic program, one linear solve"

    def derivative(self, show: Show) -> tuple[str, ...]:
        if not self.form.equalities:
            return ("P u = x_bar", "theta_bar = -(d(Px + q)/dtheta)' u, by one autograd call; nothing is inverted")
        return (
            "[ P  A' ] [ u ]   [ x_bar  ]",
            "[ A  0  ] [ v ] = [ nu_bar ]",
            "theta_bar = -(dF/dtheta)' (u, v), by one autograd call on F; nothing is inverted",
            "where the matrix is singular, the least-norm solution",
        )


@final
class EqualityQP(Structure):
    name = "equality_qp"
    doc = "a quadratic objective under equalities, or under nothing: one linear solve at any size"

    def recognise(self, canonical: Canonical) -> EqualityQPMatch | Mismatch:
        form = canonical.quadratic
        if isinstance(form, Mismatch):
            return form
        if form.inequalities or form.lower or form.upper:
            return Mismatch("there are inequalities")
        if not form.squares:
            return Mismatch("the objective has no quadratic term")
        return EqualityQPMatch(form)
