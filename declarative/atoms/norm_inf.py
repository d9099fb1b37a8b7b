"""``norm_inf(x)``: the largest absolute value of all entries."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.neg import NEG
from declarative.atoms.reduction import Reduction
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Call, Expression


@final
class NormInf(Reduction):
    name = "norm_inf"
    doc = "Largest absolute value of all entries."
    formula = "max_i |x_i|"
    smooth = False

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.of(args[0].sign),)

    def latex_of(self, *args: Expression) -> str:
        return r"\lVert \operatorname{vec}(#1) \rVert_\infty" if args[0].rank == 2 else r"\lVert #1 \rVert_\infty"

    def torch(self, *args: Operand) -> str:
        (x,) = args
        return f"{x}.abs().amax({x.axes})" if x.rank else f"{x}.abs()"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.norm_inf(args[0])

    def pieces(self, *args: Expression) -> tuple[Expression, ...]:
        return (args[0], Call(NEG, args))


NORM_INF = NormInf()
