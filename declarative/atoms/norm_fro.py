"""``norm_fro(X)``: the Frobenius norm, the root of the sum of squares of all entries."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.norm2 import NORM2
from declarative.atoms.reduction import Reduction
from declarative.ir.atom import Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Call, Expression


@final
class NormFro(Reduction):
    name = "norm_fro"
    doc = "Frobenius norm: root of the sum of squares of all entries."
    formula = "sqrt(sum_ij X_ij^2)"
    latex = r"\lVert #1 \rVert_F"
    latex_level = "function"
    arguments = ("X",)
    smooth = False

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.of(args[0].sign),)

    def torch(self, *args: Operand) -> str:
        (x,) = args
        return f"torch.linalg.vector_norm({x.text}, dim={x.axes})" if x.rank else f"{x}.abs()"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.norm(args[0], "fro") if args[0].ndim == 2 else cp.norm2(args[0])

    def expand(self, *args: Expression) -> Expression | None:
        """``norm2(x)`` of a vector."""
        return Call(NORM2, args) if args[0].rank < 2 else None


NORM_FRO = NormFro()
