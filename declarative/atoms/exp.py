"""``exp(x)``, entry by entry."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.elementwise import Elementwise
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression


@final
class Exp(Elementwise):
    name = "exp"
    doc = "Exponential entry by entry."
    formula = "e^x"

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def latex_of(self, *args: Expression) -> str:
        return r"\exp(#1)" if args[0].rank else "e^{#1}"

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.exp()"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.exp(args[0])


EXP = Exp()
