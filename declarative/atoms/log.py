"""``log(x)``, entry by entry: the natural logarithm, for x > 0."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.elementwise import Elementwise
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression


@final
class Log(Elementwise):
    name = "log"
    doc = "Natural logarithm entry by entry."
    formula = "log(x), x > 0"
    latex = r"\log(#1)"
    domain = ("positive",)

    def sign(self, *args: Expression) -> Sign:
        return Sign.UNKNOWN

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONCAVE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.log()"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.log(args[0])


LOG = Log()
