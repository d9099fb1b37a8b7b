"""``inv_pos(x)``, entry by entry: 1 / x for x > 0."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.elementwise import Elementwise
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression


@final
class InvPos(Elementwise):
    name = "inv_pos"
    doc = "Reciprocal entry by entry of a positive argument."
    formula = "1 / x, x > 0"
    domain = ("positive",)

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.DECREASING,)

    def latex_of(self, *args: Expression) -> str:
        return r"@1^{\circ -1}" if args[0].rank else "@1^{-1}"

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.reciprocal()"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.inv_pos(args[0])


INV_POS = InvPos()
