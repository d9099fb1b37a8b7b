"""Smooth problems: a stationary point of a smooth objective, and the root of a square system of smooth equations.

    F(w; theta) = (grad_x L, h, complementarity) = 0     for a local problem,
    F(x; theta) = lhs - rhs = 0                           for a system of equations,

solved by Newton from the start that the program gives, differentiated by the implicit function theorem.

Reference: Nocedal and Wright, Numerical Optimization, 2006, chapters 3, 11 and 19.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.mismatch import Mismatch
from declarative.ir.program import Program
from declarative.structures.structure import Canonical, Match, Show, Structure


@final
@dataclass(frozen=True)
class LocalMatch(Match):
    """A program with a ``locally`` objective."""

    structure = "smooth_local"
    program: Program

    def summary(self, show: Show) -> str:
        return "stationary point on the branch of the start, by Newton's method"

    def derivative(self, show: Show) -> tuple[str, ...]:
        inside = "grad_x L" if self.program.constraints else "grad f"
        return (
            "H = the Hessian of the Lagrangian at the solution" if self.program.constraints else "H = the Hessian of f",
            *(
                ("[ H  C' ] [ u ]   [ x_bar ]", "[ C  0  ] [ v ] = [ c_bar ]   C: the active constraints' gradients")
                if self.program.constraints
                else ("H u = x_bar",)
            ),
            f"theta_bar = -(d({inside})/dtheta)' u, by one autograd call; weights of externs are part of theta",
            "the start only chooses the branch: its derivative is zero",
        )


@final
class SmoothLocal(Structure):
    name = "smooth_local"
    doc = "a smooth objective under `locally`: a stationary point by Newton's method, exact Hessians"

    def recognise(self, canonical: Canonical) -> LocalMatch | Mismatch:
        if not canonical.program.objective.local:
            return Mismatch("the objective is not declared `locally`")
        return LocalMatch(canonical.program)


@final
@dataclass(frozen=True)
class RootMatch(Match):
    """A program with ``solve``."""

    structure = "root"
    program: Program

    def summary(self, show: Show) -> str:
        return "root of a square system on the branch of the start, by Newton's method"

    def derivative(self, show: Show) -> tuple[str, ...]:
        return (
            "(dF/dx)' u = x_bar at the root",
            "theta_bar = -(dF/dtheta)' u, by one autograd call on F; nothing is inverted",
            "the start only chooses the branch: its derivative is zero",
        )


@final
class Root(Structure):
    name = "root"
    doc = "a square system of equations under `solve`: a root by Newton's method"

    def recognise(self, canonical: Canonical) -> RootMatch | Mismatch:
        if canonical.program.objective.sense != "solve":
            return Mismatch("the program has an objective")
        return RootMatch(canonical.program)
