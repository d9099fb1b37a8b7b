"""``log_det(X)``: the logarithm of the determinant of a symmetric positive definite matrix."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import require_square
from declarative.atoms.symmetric_part import symmetric_part
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class LogDet(Atom):
    name = "log_det"
    doc = "Logarithm of the determinant of a symmetric positive definite matrix; of any other, of its symmetric part."
    formula = "log det X, X positive definite"
    latex = r"\log\det(#1)"
    arguments = ("X",)
    domain = ("psd",)

    def shape(self, *args: Expression) -> Shape:
        require_square(self.name, "X", 0, args[0])
        return ()

    def sign(self, *args: Expression) -> Sign:
        return Sign.UNKNOWN

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONCAVE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.NONE,)

    def torch(self, *args: Operand) -> str:
        return f"functions.log_det({args[0].text})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.log_det(symmetric_part(cp, args[0]))


LOG_DET = LogDet()
