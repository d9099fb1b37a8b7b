"""``erf(x)``, entry by entry: the error function."""

from __future__ import annotations

from typing import final

from declarative.atoms.local import LocalOnly
from declarative.ir.atom import Operand
from declarative.ir.curvature import Sign
from declarative.ir.expression import Expression


@final
class Erf(LocalOnly):
    name = "erf"
    doc = "Error function entry by entry."
    formula = "2/sqrt(pi) integral_0^x e^(-t^2) dt"
    rising = True

    def sign(self, *args: Expression) -> Sign:
        return args[0].sign

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.erf()"


ERF = Erf()
