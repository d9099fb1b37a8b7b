"""Cone program: every other convex program, brought to a cone program at fixed sizes.

    minimise    1/2 x'Px + q'x   subject to  Ax + s = b, s in K

with K a product of zero, nonnegative, second-order, semidefinite, exponential and power cones.

Reference: Agrawal et al., Differentiable convex optimization layers, 2019; Busseti, Moursi and Boyd, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import NormalForm
from declarative.structures.structure import Canonical, Match, Show, Structure


@final
@dataclass(frozen=True)
class ConeProgramMatch(Match):
    """A convex program; its cones are known once its sizes are."""

    structure = "cone_program"
    normal: NormalForm

    def summary(self, show: Show) -> str:
        return "cone program at fixed sizes"

    def derivative(self, show: Show) -> tuple[str, ...]:
        return (
            "with D the derivative of the projection onto K at s - z, the system",
            "[ P  A'  0     ]'",
            "[ A  0   I     ]  u = w_bar,   w = (x, z, s)",
            "[ 0  D   I - D ]",
            "theta_bar = -(dF/dtheta)' u, through the sparse maps theta -> (P, q, A, b); nothing is inverted",
        )


@final
class ConeProgram(Structure):
    name = "cone_program"
    doc = "any convex program: a cone program at fixed sizes, its data sparse affine maps of the parameters"

    def recognise(self, canonical: Canonical) -> ConeProgramMatch | Mismatch:
        if canonical.normal is None:
            return Mismatch("the problem is not convex")
        return ConeProgramMatch(canonical.normal)
