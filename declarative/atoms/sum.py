"""``sum(x)``: of all entries."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.reduction import Reduction, reduced
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression


@final
class Sum(Reduction):
    name = "sum"
    doc = "Sum of all entries."
    formula = "sum_i x_i"

    def sign(self, *args: Expression) -> Sign:
        return args[0].sign

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        return reduced(args[0], "sum")

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.sum(args[0])


SUM = Sum()
