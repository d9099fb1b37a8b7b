"""What functions of one argument, applied entry by entry, have in common."""

from __future__ import annotations

from declarative.ir.atom import Atom
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


class Elementwise(Atom):
    """Base of the functions of one argument, of any shape, whose value has the argument's shape."""

    arguments = ("x",)

    def shape(self, *args: Expression) -> Shape:
        return args[0].shape
