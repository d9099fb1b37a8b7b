"""Functions of parameters alone: torch computes them before the solve, and no variable may occur inside."""

from __future__ import annotations

from typing import Any

from declarative.ir.atom import Atom
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression


class OfParameters(Atom):
    """Base of the functions of one constant matrix."""

    parameters_only = True
    arguments = ("A",)
    domain = ("psd",)

    def sign(self, *args: Expression) -> Sign:
        return Sign.UNKNOWN

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.UNKNOWN

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.NONE,)

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        raise NotImplementedError(f"{self.name} is computed before the problem is posed")
