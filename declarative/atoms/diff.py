"""``diff(x)``: differences of neighbours along the first index."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.add import ADD
from declarative.atoms.neg import NEG
from declarative.atoms.shapes import require_rank
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Call, Expression, Index, Range
from declarative.ir.shape import Shape, Size


@final
class Diff(Atom):
    name = "diff"
    doc = "Differences of neighbours along the first index; one shorter than x."
    formula = "y_i = x_(i+1) - x_i"
    arguments = ("x",)

    def shape(self, *args: Expression) -> Shape:
        require_rank(self.name, "x", 0, args[0], 1, 2)
        first, *rest = args[0].shape
        return (first - 1, *rest)

    def sign(self, *args: Expression) -> Sign:
        return Sign.UNKNOWN

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.NONE,)

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.diff(dim={-args[0].rank})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.diff(args[0], axis=0)

    def expand(self, *args: Expression) -> Expression:
        """``x[1..n-1] - x[0..n-2]``."""
        (x,) = args
        last = x.shape[0] - 1
        later, earlier = (Index(x, (Range(Size(i), last - 1 + i),)) for i in (1, 0))
        return Call(ADD, (later, Call(NEG, (earlier,))))


DIFF = Diff()
