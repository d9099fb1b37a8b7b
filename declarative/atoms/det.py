"""``det(A)``: the determinant of a constant matrix."""

from __future__ import annotations

from typing import final

from declarative.atoms.of_parameters import OfParameters
from declarative.atoms.shapes import require_square
from declarative.ir.atom import Operand
from declarative.ir.curvature import Sign
from declarative.ir.definiteness import is_psd
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class Det(OfParameters):
    name = "det"
    doc = "Determinant of a matrix of parameters."
    formula = "det A"
    latex = r"\det(#1)"

    def shape(self, *args: Expression) -> Shape:
        require_square(self.name, "A", 0, args[0])
        return ()

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG if is_psd(args[0]) else Sign.UNKNOWN

    def torch(self, *args: Operand) -> str:
        return f"functions.det({args[0].text})"


DET = Det()
