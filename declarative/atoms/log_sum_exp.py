"""``log_sum_exp(x)``: the smooth maximum log sum_i e^{x_i} of all entries."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.reduction import Reduction
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression


@final
class LogSumExp(Reduction):
    name = "log_sum_exp"
    doc = "Logarithm of the sum of exponentials of all entries."
    formula = "log(sum_i e^{x_i})"
    latex = r"\operatorname{logsumexp}(#1)"

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG if args[0].sign.is_nonneg else Sign.UNKNOWN

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        (x,) = args
        return f"torch.logsumexp({x.text}, {x.axes})" if x.rank else str(x)

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.log_sum_exp(args[0])


LOG_SUM_EXP = LogSumExp()
