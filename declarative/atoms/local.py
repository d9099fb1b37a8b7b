"""Smooth functions without a curvature: for ``minimize locally``, ``solve`` and expressions of parameters."""

from __future__ import annotations

from typing import Any

from declarative.atoms.elementwise import Elementwise
from declarative.ir.curvature import Curvature, Monotonicity
from declarative.ir.expression import Expression


class LocalOnly(Elementwise):
    """Base of the functions that no convex problem may contain. ``rising`` where the function increases everywhere."""

    local_only = True
    rising = False

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.UNKNOWN

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING if self.rising else Monotonicity.NONE,)

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        raise NotImplementedError(f"{self.name} has no counterpart among convex functions")
