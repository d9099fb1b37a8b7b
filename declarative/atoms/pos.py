"""``pos(x)``, entry by entry: the positive part, the maximum of x and 0."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.elementwise import Elementwise
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Constant, Expression


@final
class Pos(Elementwise):
    name = "pos"
    doc = "Positive part entry by entry."
    formula = "max(x, 0)"
    latex = "(#1)_+"
    latex_level = "function"
    smooth = False

    def sign(self, *args: Expression) -> Sign:
        return Sign.ZERO if args[0].sign.is_nonpos else Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.relu()"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.pos(args[0])

    def pieces(self, *args: Expression) -> tuple[Expression, ...]:
        return (args[0], Constant(0.0))


POS = Pos()
