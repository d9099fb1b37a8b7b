"""``square(x)``, entry by entry: x²."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.elementwise import Elementwise
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression


@final
class Square(Elementwise):
    name = "square"
    doc = "Square entry by entry."
    formula = "x^2"

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.of(args[0].sign),)

    def latex_of(self, *args: Expression) -> str:
        return r"@1^{\circ 2}" if args[0].rank else "@1^2"

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.square()"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.square(args[0])


SQUARE = Square()
