"""``maximum(x, y, ...)``, entry by entry: the largest of the arguments."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import join
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class Maximum(Atom):
    name = "maximum"
    doc = "The largest of several arguments, entry by entry."
    formula = "max(x, y, ...)"
    latex = r"\max(#*)"
    arguments = ("x", "y")
    variadic = True
    smooth = False

    def shape(self, *args: Expression) -> Shape:
        return join(self.name, *args)

    def sign(self, *args: Expression) -> Sign:
        signs = [arg.sign for arg in args]
        if any(sign.is_nonneg for sign in signs):
            return Sign.NONNEG
        return Sign.NONPOS if all(sign.is_nonpos for sign in signs) else Sign.UNKNOWN

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,) * len(args)

    def torch(self, *args: Operand) -> str:
        rank = max(arg.rank for arg in args)
        tensors = [arg.lifted(rank) for arg in args if not arg.is_number]
        numbers = [str(arg) for arg in args if arg.is_number]
        if not tensors:
            return f"max({', '.join(numbers)})"
        text = tensors[0]
        for tensor in tensors[1:]:
            text = f"torch.maximum({text}, {tensor})"
        for number in numbers:
            text = f"{text}.clamp(min={number})"
        return text

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.maximum(*args)

    def pieces(self, *args: Expression) -> tuple[Expression, ...]:
        return args


MAXIMUM = Maximum()
