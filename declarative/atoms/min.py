"""``min(x)``: the smallest entry."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.reduction import Reduction, reduced
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression


@final
class Min(Reduction):
    name = "min"
    doc = "Smallest of all entries."
    formula = "min_i x_i"
    latex = r"\min(#1)"
    smooth = False

    def sign(self, *args: Expression) -> Sign:
        return args[0].sign

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONCAVE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        return reduced(args[0], "amin")

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.min(args[0])

    def pieces(self, *args: Expression) -> tuple[Expression, ...]:
        return args


MIN = Min()
