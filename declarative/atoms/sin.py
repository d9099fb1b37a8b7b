"""``sin(x)``, entry by entry, of radians."""

from __future__ import annotations

from typing import final

from declarative.atoms.local import LocalOnly
from declarative.ir.atom import Operand
from declarative.ir.curvature import Sign
from declarative.ir.expression import Expression


@final
class Sin(LocalOnly):
    name = "sin"
    doc = "Sine entry by entry."
    formula = "sin(x)"
    latex = r"\sin(#1)"

    def sign(self, *args: Expression) -> Sign:
        return Sign.UNKNOWN

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.sin()"


SIN = Sin()
