"""``sigmoid(x)``, entry by entry."""

from __future__ import annotations

from typing import final

from declarative.atoms.local import LocalOnly
from declarative.ir.atom import Operand
from declarative.ir.curvature import Sign
from declarative.ir.expression import Expression


@final
class Sigmoid(LocalOnly):
    name = "sigmoid"
    doc = "Logistic function entry by entry."
    formula = "1 / (1 + e^-x)"
    rising = True

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.sigmoid()"


SIGMOID = Sigmoid()
