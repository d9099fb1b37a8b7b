"""``-x``."""

from __future__ import annotations

from typing import Any, final

from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.definiteness import is_nsd
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class Neg(Atom):
    name = "neg"
    doc = "The negative."
    formula = "-x"
    arguments = ("x",)

    def shape(self, *args: Expression) -> Shape:
        return args[0].shape

    def sign(self, *args: Expression) -> Sign:
        return -args[0].sign

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.DECREASING,)

    def torch(self, *args: Operand) -> str:
        return f"(-{args[0]})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return -args[0]

    def is_psd(self, *args: Expression) -> bool:
        return is_nsd(args[0])


NEG = Neg()
