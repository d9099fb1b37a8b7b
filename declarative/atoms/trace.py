"""``trace(X)``: the sum of the diagonal of a square matrix."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import require_square
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.definiteness import is_nsd, is_psd
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class Trace(Atom):
    name = "trace"
    doc = "Trace of a square matrix."
    formula = "sum_i X_ii"
    latex = r"\operatorname{tr}(#1)"
    arguments = ("X",)

    def shape(self, *args: Expression) -> Shape:
        require_square(self.name, "X", 0, args[0])
        return ()

    def sign(self, *args: Expression) -> Sign:
        (X,) = args
        return Sign.NONNEG if is_psd(X) else Sign.NONPOS if is_nsd(X) else X.sign

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.diagonal(dim1=-2, dim2=-1).sum(-1)"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.trace(args[0])


TRACE = Trace()
