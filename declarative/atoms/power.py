"""``x^p`` entry by entry, for a constant p.

An even p > 0 is convex everywhere. Another whole p bends both ways, so it has a curvature only where the sign of x is
known; a broken p has x >= 0 for its domain, where it is convex for p > 1 and p < 0 and concave for 0 < p < 1.
"""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.constants import number
from declarative.atoms.shapes import KINDS
from declarative.ir.atom import Atom, AtomError, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class Power(Atom):
    name = "power"
    doc = "Power entry by entry; written `x^p`. The exponent is constant."
    formula = "x^p"
    arguments = ("x", "p")
    domain = ("positive", "number")

    def shape(self, *args: Expression) -> Shape:
        x, p = args
        if p.shape:
            raise AtomError("the exponent of `^` is a scalar", argument=1, label=f"this is {KINDS[p.rank]}")
        if not p.is_constant:
            raise AtomError(
                "the exponent of `^` must be constant, but a variable occurs in it",
                argument=1,
                label="this is solved for",
                help="for a constant base c: exp(log(c) * y)",
            )
        return x.shape

    def sign(self, *args: Expression) -> Sign:
        x, p = args
        value = number(p)
        if value is None:
            return Sign.NONNEG if x.sign.is_nonneg else Sign.UNKNOWN
        if value % 2 != 1:
            return Sign.NONNEG
        return x.sign if value > 0 else Sign.NONNEG if x.sign.is_nonneg else x.sign

    def intrinsic(self, *args: Expression) -> Curvature:
        x, p = args
        value = number(p)
        if value is None:
            return Curvature.UNKNOWN
        if value in (0, 1):
            return Curvature.AFFINE
        if value > 0 and value % 2 == 0:
            return Curvature.CONVEX
        if x.sign.is_nonneg or value % 1:
            return Curvature.CONCAVE if 0 < value < 1 else Curvature.CONVEX
        if x.sign.is_nonpos:
            return Curvature.CONVEX if value % 2 == 0 else Curvature.CONCAVE
        return Curvature.UNKNOWN

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (self._of(args[0].sign, number(args[1])), Monotonicity.NONE)

    @staticmethod
    def _of(sign: Sign, p: float | None) -> Monotonicity:
        if p is None:
            return Monotonicity.NONE
        if p % 1:
            # Beyond its domain a convex x^p, p > 1, is infinite, so that it does not increase there.
            if p > 1 and not sign.is_nonneg:
                return Monotonicity.NONE
            return Monotonicity.INCREASING if p > 0 else Monotonicity.DECREASING
        if p in (0, 1) or (p > 0 and p % 2 == 1):
            return Monotonicity.INCREASING
        if sign.is_nonneg:
            return Monotonicity.INCREASING if p > 0 else Monotonicity.DECREASING
        if sign.is_nonpos:
            rising = p < 0 and p % 2 == 0
            return Monotonicity.INCREASING if rising else Monotonicity.DECREASING
        return Monotonicity.NONE

    def latex_of(self, *args: Expression) -> str:
        return r"@1^{\circ #2}" if args[0].rank else "@1^{#2}"

    def torch(self, *args: Operand) -> str:
        x, p = args
        return f"({x} ** {p.lifted(x.rank)})"

    def has_edge(self, *args: Expression) -> bool:
        value = number(args[1])
        return value is not None and value > 0 and value % 1 != 0

    def torch_at_edge(self, *args: Operand) -> str:
        x, p = args
        return f"functions.at_edge(torch.pow, {x.text}, {p.text})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        x, p = args
        return cp.power(x, p)


POWER = Power()
