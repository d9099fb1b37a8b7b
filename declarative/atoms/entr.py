"""``entr(x)``, entry by entry: the entropy term -x log x, with 0 at x = 0."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.elementwise import Elementwise
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression


@final
class Entr(Elementwise):
    name = "entr"
    doc = "Entropy term entry by entry; 0 at x = 0."
    formula = "-x log(x), x >= 0"
    latex_level = "sum"
    domain = ("nonneg",)

    def sign(self, *args: Expression) -> Sign:
        return Sign.UNKNOWN

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONCAVE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.NONE,)

    def latex_of(self, *args: Expression) -> str:
        return super().latex_of(*args) if self.shape(*args) else r"-@1 \log(#1)"

    def torch(self, *args: Operand) -> str:
        return f"torch.special.entr({args[0]})"

    def has_edge(self, *args: Expression) -> bool:
        return True

    def torch_at_edge(self, *args: Operand) -> str:
        return f"functions.at_edge(torch.special.entr, {args[0].text})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.entr(args[0])


ENTR = Entr()
