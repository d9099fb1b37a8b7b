"""``lambda_max(X)``: the largest eigenvalue of a symmetric matrix, of any other that of its symmetric part."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import require_square
from declarative.atoms.symmetric_part import symmetric_part
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.definiteness import is_nsd, is_psd
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class LambdaMax(Atom):
    name = "lambda_max"
    doc = "Largest eigenvalue of a symmetric matrix; of any other, of its symmetric part."
    formula = "max {u' X u : u' u = 1}"
    latex = r"\lambda_{\max}(#1)"
    arguments = ("X",)
    smooth = False
    domain = ("symmetric",)

    def shape(self, *args: Expression) -> Shape:
        require_square(self.name, "X", 0, args[0])
        return ()

    def sign(self, *args: Expression) -> Sign:
        (X,) = args
        return Sign.NONNEG if is_psd(X) else Sign.NONPOS if is_nsd(X) else Sign.UNKNOWN

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.NONE,)

    def torch(self, *args: Operand) -> str:
        return f"torch.linalg.eigvalsh(functions.symmetric_part({args[0].text}))[..., -1]"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.lambda_max(symmetric_part(cp, args[0]))


LAMBDA_MAX = LambdaMax()
