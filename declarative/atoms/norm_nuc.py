"""``norm_nuc(X)``: the nuclear norm of a matrix, the sum of its singular values."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import require_rank
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class NormNuc(Atom):
    name = "norm_nuc"
    doc = "Nuclear norm of a matrix: sum of its singular values."
    formula = "sum_i sigma_i(X)"
    latex = r"\lVert #1 \rVert_*"
    latex_level = "function"
    arguments = ("X",)
    smooth = False

    def shape(self, *args: Expression) -> Shape:
        require_rank(self.name, "X", 0, args[0], 2)
        return ()

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.NONE,)

    def torch(self, *args: Operand) -> str:
        return f"torch.linalg.svdvals({args[0].text}).sum(-1)"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.norm(args[0], "nuc")


NORM_NUC = NormNuc()
