"""``semidefinite_factor(P)``: an F with F'F = P of a constant positive semidefinite matrix, singular or not.

Not a function of the language: with it the compiler writes ``quad_form(x, P)`` outside an objective as ``||F x||^2``.
"""

from __future__ import annotations

from typing import final

from declarative.atoms.of_parameters import OfParameters
from declarative.atoms.shapes import require_square
from declarative.ir.atom import Operand
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class SemidefiniteFactor(OfParameters):
    name = "semidefinite_factor"
    doc = "A factor F of a positive semidefinite matrix of parameters, with F' F that matrix."
    formula = "F with F' F = P"
    latex = r"(#1)^{1/2}"
    arguments = ("P",)

    def shape(self, *args: Expression) -> Shape:
        require_square(self.name, "P", 0, args[0])
        return args[0].shape

    def torch(self, *args: Operand) -> str:
        return f"functions.semidefinite_factor({args[0].text})"


SEMIDEFINITE_FACTOR = SemidefiniteFactor()
