"""``softplus(x)``, entry by entry: log(1 + e^x) under the name that networks give it; in convex problems `logistic`."""

from __future__ import annotations

from typing import final

from declarative.atoms.local import LocalOnly
from declarative.ir.atom import Operand
from declarative.ir.curvature import Sign
from declarative.ir.expression import Expression


@final
class Softplus(LocalOnly):
    name = "softplus"
    doc = "Softplus entry by entry; in convex problems it is called logistic."
    formula = "log(1 + e^x)"
    latex = r"\log(1 + e^{#1})"
    rising = True

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def torch(self, *args: Operand) -> str:
        return f"(-torch.nn.functional.logsigmoid(-{args[0]}))"


SOFTPLUS = Softplus()
