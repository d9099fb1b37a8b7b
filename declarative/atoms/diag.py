"""``diag(x)``: the diagonal matrix of a vector; ``diag(X)``: the diagonal of a square matrix."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import require_rank, require_square
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.definiteness import is_nsd, is_psd
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class Diag(Atom):
    name = "diag"
    doc = "Diagonal matrix of a vector, or the diagonal of a square matrix."
    formula = "Diag(x), or (X_11, ..., X_nn)"
    arguments = ("x",)

    def shape(self, *args: Expression) -> Shape:
        (x,) = args
        if x.rank == 2:
            require_square(self.name, "x", 0, x)
            return x.shape[:1]
        require_rank(self.name, "x", 0, x, 1, 2)
        return x.shape * 2

    def sign(self, *args: Expression) -> Sign:
        (x,) = args
        if x.rank == 2 and (is_psd(x) or is_nsd(x)):
            return Sign.NONNEG if is_psd(x) else Sign.NONPOS
        return x.sign

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def latex_of(self, *args: Expression) -> str:
        return r"\operatorname{diag}(#1)" if args[0].rank == 2 else r"\operatorname{Diag}(#1)"

    def torch(self, *args: Operand) -> str:
        (x,) = args
        return f"{x}.diagonal(dim1=-2, dim2=-1)" if x.rank == 2 else f"torch.diag_embed({x.text})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.diag(args[0])

    def is_psd(self, *args: Expression) -> bool:
        """Of a nonnegative vector."""
        return args[0].rank == 1 and args[0].sign.is_nonneg


DIAG = Diag()
