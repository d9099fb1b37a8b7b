"""``norm1(x)``: the sum of the absolute values of all entries."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.abs import ABS
from declarative.atoms.reduction import Reduction
from declarative.atoms.sum import SUM
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Call, Expression


@final
class Norm1(Reduction):
    name = "norm1"
    doc = "Sum of absolute values of all entries."
    formula = "sum_i |x_i|"
    smooth = False

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.of(args[0].sign),)

    def latex_of(self, *args: Expression) -> str:
        return r"\lVert \operatorname{vec}(#1) \rVert_1" if args[0].rank == 2 else r"\lVert #1 \rVert_1"

    def torch(self, *args: Operand) -> str:
        (x,) = args
        return f"{x}.abs().sum({x.axes})" if x.rank else f"{x}.abs()"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.norm1(args[0])

    def expand(self, *args: Expression) -> Expression:
        """``sum(abs(x))``."""
        return Call(SUM, (Call(ABS, args),))


NORM1 = Norm1()
