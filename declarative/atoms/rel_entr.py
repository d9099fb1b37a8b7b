"""``rel_entr(x, y)``, entry by entry: the relative entropy term x log(x / y), jointly convex."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import join
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class RelEntr(Atom):
    name = "rel_entr"
    doc = "Relative entropy term entry by entry; 0 at x = 0."
    formula = "x log(x / y), x >= 0, y > 0"
    latex_level = "product"
    arguments = ("x", "y")
    domain = ("nonneg", "positive")

    def shape(self, *args: Expression) -> Shape:
        return join(self.name, *args)

    def sign(self, *args: Expression) -> Sign:
        return Sign.UNKNOWN

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.NONE, Monotonicity.DECREASING)

    def latex_of(self, *args: Expression) -> str:
        return super().latex_of(*args) if self.shape(*args) else r"@1 \log(#1 / @2)"

    def torch(self, *args: Operand) -> str:
        x, y = args
        rank = max(x.rank, y.rank)
        return f"functions.rel_entr({x.lifted(rank)}, {y.lifted(rank)})"

    def has_edge(self, *args: Expression) -> bool:
        return True

    def torch_at_edge(self, *args: Operand) -> str:
        x, y = args
        rank = max(x.rank, y.rank)
        return f"functions.at_edge(functions.rel_entr, {x.lifted(rank)}, {y.lifted(rank)})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.rel_entr(*args)


REL_ENTR = RelEntr()
