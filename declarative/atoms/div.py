"""``a / b``: entry by entry, or by a scalar. Affine in a where b is constant."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import join
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.definiteness import is_nsd, is_psd
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class Div(Atom):
    name = "div"
    doc = "Quotient entry by entry of two equal shapes, or with a scalar; the divisor is constant in a convex problem."
    formula = "a / b"
    arguments = ("a", "b")
    domain = ("any", "positive")

    def shape(self, *args: Expression) -> Shape:
        return join("/", *args)

    def sign(self, *args: Expression) -> Sign:
        a, b = args
        return a.sign * b.sign

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE if args[1].is_constant else Curvature.UNKNOWN

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        a, b = args
        in_divisor = Monotonicity.of(-a.sign) if b.sign is not Sign.UNKNOWN else Monotonicity.NONE
        return (Monotonicity.of(b.sign), in_divisor)

    def torch(self, *args: Operand) -> str:
        a, b = args
        rank = max(a.rank, b.rank)
        return f"({a.lifted(rank)} / {b.lifted(rank)})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        a, b = args
        return a / b

    def is_psd(self, *args: Expression) -> bool:
        """Of a psd matrix over a nonnegative scalar."""
        a, b = args
        if b.shape:
            return False
        return (b.sign.is_nonneg and is_psd(a)) or (b.sign.is_nonpos and is_nsd(a))


DIV = Div()
