"""``tanh(x)``, entry by entry."""

from __future__ import annotations

from typing import final

from declarative.atoms.local import LocalOnly
from declarative.ir.atom import Operand
from declarative.ir.curvature import Sign
from declarative.ir.expression import Expression


@final
class Tanh(LocalOnly):
    name = "tanh"
    doc = "Hyperbolic tangent entry by entry."
    formula = "tanh(x)"
    latex = r"\tanh(#1)"
    rising = True

    def sign(self, *args: Expression) -> Sign:
        return args[0].sign

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.tanh()"


TANH = Tanh()
