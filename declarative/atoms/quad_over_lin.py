"""``quad_over_lin(x, y)``: the sum of squares of x over a positive scalar y, jointly convex."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.div import DIV
from declarative.atoms.shapes import require_rank
from declarative.atoms.sum_squares import SUM_SQUARES
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Call, Expression
from declarative.ir.shape import Shape


@final
class QuadOverLin(Atom):
    name = "quad_over_lin"
    doc = "Sum of squares over a positive scalar."
    formula = "sum_i x_i^2 / y, y > 0"
    arguments = ("x", "y")
    domain = ("any", "positive")

    def shape(self, *args: Expression) -> Shape:
        require_rank(self.name, "y", 1, args[1], 0)
        return ()

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.of(args[0].sign), Monotonicity.DECREASING)

    def latex_of(self, *args: Expression) -> str:
        return rf"\frac{{{SUM_SQUARES.latex_of(args[0])}}}{{#2}}"

    def torch(self, *args: Operand) -> str:
        x, y = args
        squares = f"{x}.square().sum({x.axes})" if x.rank else f"{x} ** 2"
        return f"({squares} / {y})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.quad_over_lin(*args)

    def expand(self, *args: Expression) -> Expression | None:
        """``sum_squares(x) / y`` for a constant y."""
        x, y = args
        return Call(DIV, (Call(SUM_SQUARES, (x,)), y)) if y.is_constant else None


QUAD_OVER_LIN = QuadOverLin()
