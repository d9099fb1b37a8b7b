"""``kl_div(x, y)``, entry by entry: the Kullback-Leibler term x log(x / y) - x + y, which is never negative."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.add import ADD
from declarative.atoms.neg import NEG
from declarative.atoms.rel_entr import REL_ENTR
from declarative.atoms.shapes import join
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Call, Expression
from declarative.ir.shape import Shape


@final
class KlDiv(Atom):
    name = "kl_div"
    doc = "Kullback-Leibler term entry by entry."
    formula = "x log(x / y) - x + y, x >= 0, y > 0"
    latex_level = "sum"
    arguments = ("x", "y")
    domain = ("nonneg", "positive")

    def shape(self, *args: Expression) -> Shape:
        return join(self.name, *args)

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.NONE, Monotonicity.NONE)

    def latex_of(self, *args: Expression) -> str:
        return super().latex_of(*args) if self.shape(*args) else r"@1 \log(#1 / @2) - @1 + @2"

    def torch(self, *args: Operand) -> str:
        x, y = args
        rank = max(x.rank, y.rank)
        return f"functions.kl_div({x.lifted(rank)}, {y.lifted(rank)})"

    def has_edge(self, *args: Expression) -> bool:
        return True

    def torch_at_edge(self, *args: Operand) -> str:
        x, y = args
        rank = max(x.rank, y.rank)
        left, right = x.lifted(rank), y.lifted(rank)
        return f"(functions.at_edge(functions.rel_entr, {left}, {right}) - {left} + {right})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.kl_div(*args)

    def expand(self, *args: Expression) -> Expression:
        """``rel_entr(x, y) - x + y``."""
        x, y = args
        return Call(ADD, (Call(ADD, (Call(REL_ENTR, args), Call(NEG, (x,)))), y))


KL_DIV = KlDiv()
