"""``a + b``; a difference is ``a + -b``."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import join
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.definiteness import is_psd
from declarative.ir.expression import Call, Expression
from declarative.ir.shape import Shape


@final
class Add(Atom):
    name = "add"
    doc = "Sum of two equal shapes, or of a scalar and anything."
    formula = "a + b"
    arguments = ("a", "b")

    def shape(self, *args: Expression) -> Shape:
        last = args[-1]
        return join("-" if isinstance(last, Call) and last.atom.name == "neg" else "+", *args)

    def sign(self, *args: Expression) -> Sign:
        a, b = args
        return a.sign + b.sign

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING, Monotonicity.INCREASING)

    def torch(self, *args: Operand) -> str:
        a, b = args
        rank = max(a.rank, b.rank)
        return f"({a.lifted(rank)} + {b.lifted(rank)})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        a, b = args
        return a + b

    def is_psd(self, *args: Expression) -> bool:
        return all(is_psd(arg) for arg in args)


ADD = Add()
