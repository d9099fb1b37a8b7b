"""``logistic(x)``, entry by entry: log(1 + e^x), evaluated without overflow as -log sigmoid(-x)."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.elementwise import Elementwise
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression


@final
class Logistic(Elementwise):
    name = "logistic"
    doc = "Logistic loss entry by entry."
    formula = "log(1 + e^x)"
    latex = r"\log(1 + e^{#1})"

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        return f"(-torch.nn.functional.logsigmoid(-{args[0]}))"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.logistic(args[0])


LOGISTIC = Logistic()
