"""``inv(A)``: the inverse of a constant matrix. A singular one gives NaN."""

from __future__ import annotations

from typing import final

from declarative.atoms.of_parameters import OfParameters
from declarative.atoms.shapes import require_square
from declarative.ir.atom import Operand
from declarative.ir.definiteness import is_psd
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class Inv(OfParameters):
    name = "inv"
    doc = "Inverse of a matrix of parameters."
    formula = "A^-1"
    latex = "@1^{-1}"
    latex_level = "function"

    def shape(self, *args: Expression) -> Shape:
        require_square(self.name, "A", 0, args[0])
        return args[0].shape

    def torch(self, *args: Operand) -> str:
        return f"functions.inv({args[0].text})"

    def is_psd(self, *args: Expression) -> bool:
        """The inverse of a positive definite matrix is positive definite."""
        return is_psd(args[0])


INV = Inv()
