"""``abs(x)``, entry by entry: |x|, the maximum of x and -x."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.elementwise import Elementwise
from declarative.atoms.neg import NEG
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Call, Expression


@final
class Abs(Elementwise):
    name = "abs"
    doc = "Absolute value entry by entry."
    formula = "|x|"
    latex = r"\lvert #1 \rvert"
    latex_level = "atom"
    smooth = False

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.of(args[0].sign),)

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.abs()"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.abs(args[0])

    def pieces(self, *args: Expression) -> tuple[Expression, ...]:
        return (args[0], Call(NEG, args))


ABS = Abs()
