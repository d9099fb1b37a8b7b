"""``cholesky(A)``: the lower triangular L with LL' = A of a constant positive definite matrix. Another gives NaN."""

from __future__ import annotations

from typing import final

from declarative.atoms.of_parameters import OfParameters
from declarative.atoms.shapes import require_square
from declarative.ir.atom import Operand
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class Cholesky(OfParameters):
    name = "cholesky"
    doc = "Lower Cholesky factor of a positive definite matrix of parameters."
    formula = "L with L L' = A"
    latex = r"\operatorname{chol}(#1)"

    def shape(self, *args: Expression) -> Shape:
        require_square(self.name, "A", 0, args[0])
        return args[0].shape

    def torch(self, *args: Operand) -> str:
        return f"functions.cholesky({args[0].text})"


CHOLESKY = Cholesky()
