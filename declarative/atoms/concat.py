"""``concat(x, y, ...)``: vectors and scalars joined end to end."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import require_rank
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape, Size


@final
class Concat(Atom):
    name = "concat"
    doc = "Vectors and scalars joined end to end."
    formula = "(x, y, ...)"
    latex = "(#*)"
    latex_level = "atom"
    arguments = ("x",)
    variadic = True

    def shape(self, *args: Expression) -> Shape:
        length = Size(0)
        for position, arg in enumerate(args):
            require_rank(self.name, "x", position, arg, 0, 1)
            length = length + (arg.shape[0] if arg.shape else 1)
        return (length,)

    def sign(self, *args: Expression) -> Sign:
        if all(arg.sign.is_nonneg for arg in args):
            return Sign.NONNEG
        return Sign.NONPOS if all(arg.sign.is_nonpos for arg in args) else Sign.UNKNOWN

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,) * len(args)

    def torch(self, *args: Operand) -> str:
        return f"functions.concat({', '.join(arg.lifted(1) for arg in args)})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.hstack(args)


CONCAT = Concat()
