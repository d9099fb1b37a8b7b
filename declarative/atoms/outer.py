"""``outer(x, y)``: the matrix of all products of the entries of two vectors, one of them constant."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.constants import same
from declarative.atoms.shapes import require_rank
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class Outer(Atom):
    name = "outer"
    doc = "Matrix of all products of the entries of two vectors; one of them is constant."
    formula = "x y'"
    latex = r"@1 @2^\top"
    latex_level = "product"
    arguments = ("x", "y")

    def shape(self, *args: Expression) -> Shape:
        for position, (name, arg) in enumerate(zip(self.arguments, args, strict=True)):
            require_rank(self.name, name, position, arg, 1)
        return args[0].shape + args[1].shape

    def sign(self, *args: Expression) -> Sign:
        x, y = args
        return x.sign * y.sign

    def intrinsic(self, *args: Expression) -> Curvature:
        x, y = args
        return Curvature.AFFINE if x.is_constant or y.is_constant else Curvature.UNKNOWN

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        x, y = args
        return (Monotonicity.of(y.sign), Monotonicity.of(x.sign))

    def torch(self, *args: Operand) -> str:
        x, y = args
        return f"({x}[..., :, None] * {y}[..., None, :])"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.outer(*args)

    def is_psd(self, *args: Expression) -> bool:
        """Of ``outer(x, x)``."""
        return same(*args)


OUTER = Outer()
