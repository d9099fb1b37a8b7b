"""``sum_squares(x)``: the squared Euclidean norm of all entries."""

from __future__ import annotations

from typing import Any, final

from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class SumSquares(Atom):
    name = "sum_squares"
    doc = "Sum of the squares of all entries."
    formula = "sum_i x_i^2"
    arguments = ("x",)

    def shape(self, *args: Expression) -> Shape:
        return ()

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.of(args[0].sign),)

    def latex_of(self, *args: Expression) -> str:
        return ("@1^2", r"\lVert #1 \rVert_2^2", r"\lVert #1 \rVert_F^2")[args[0].rank]

    def torch(self, *args: Operand) -> str:
        (x,) = args
        return f"{x}.square().sum({x.axes})" if x.rank else f"{x}.square()"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.sum_squares(args[0])


SUM_SQUARES = SumSquares()
