"""``tv(x)``: the total variation of a vector, the sum of the absolute differences of neighbours."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.diff import DIFF
from declarative.atoms.norm1 import NORM1
from declarative.atoms.shapes import require_rank
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Call, Expression
from declarative.ir.shape import Shape


@final
class Tv(Atom):
    name = "tv"
    doc = "Total variation of a vector."
    formula = "sum_i |x_(i+1) - x_i|"
    arguments = ("x",)
    smooth = False

    def shape(self, *args: Expression) -> Shape:
        require_rank(self.name, "x", 0, args[0], 1)
        return ()

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.NONE,)

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.diff(dim=-1).abs().sum(-1)"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.tv(args[0])

    def expand(self, *args: Expression) -> Expression:
        """``norm1(diff(x))``."""
        return Call(NORM1, (Call(DIFF, args),))


TV = Tv()
