"""``mean(x)``: of all entries, their sum over their number."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.div import DIV
from declarative.atoms.reduction import Reduction, reduced
from declarative.atoms.sum import SUM
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Call, Expression, SizeValue


@final
class Mean(Reduction):
    name = "mean"
    doc = "Mean of all entries."
    formula = "1/n sum_i x_i"
    latex = r"\operatorname{mean}(#1)"

    def sign(self, *args: Expression) -> Sign:
        return args[0].sign

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        return reduced(args[0], "mean")

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.sum(args[0]) / args[0].size

    def expand(self, *args: Expression) -> Expression:
        """``sum(x) / n``."""
        result: Expression = Call(SUM, args)
        for size in args[0].shape:
            result = Call(DIV, (result, SizeValue(size)))
        return result


MEAN = Mean()
