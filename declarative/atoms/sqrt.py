"""``sqrt(x)``, entry by entry, for x >= 0."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.elementwise import Elementwise
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression


@final
class Sqrt(Elementwise):
    name = "sqrt"
    doc = "Square root entry by entry."
    formula = "sqrt(x), x >= 0"
    latex = r"\sqrt{#1}"
    latex_level = "atom"
    domain = ("nonneg",)

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONCAVE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.sqrt()"

    def has_edge(self, *args: Expression) -> bool:
        return True

    def torch_at_edge(self, *args: Operand) -> str:
        return f"functions.at_edge(torch.sqrt, {args[0].text})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.sqrt(args[0])


SQRT = Sqrt()
