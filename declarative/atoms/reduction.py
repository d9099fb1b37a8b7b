"""What functions of one argument, that give one number for all its entries, have in common."""

from __future__ import annotations

from declarative.ir.atom import Atom, Operand
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


class Reduction(Atom):
    """Base of the functions whose value is a scalar, whatever the shape of their argument."""

    arguments = ("x",)

    def shape(self, *args: Expression) -> Shape:
        return ()


def reduced(x: Operand, method: str) -> str:
    """Torch source of a tensor's method over all instance dimensions. A scalar has none, and is its own reduction."""
    return f"{x}.{method}({x.axes})" if x.rank else str(x)
