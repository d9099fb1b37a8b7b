"""``cumsum(x)``: running sums along the first index."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from declarative.atoms.shapes import require_rank
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class Cumsum(Atom):
    name = "cumsum"
    doc = "Running sums along the first index."
    formula = "y_i = x_0 + ... + x_i"
    arguments = ("x",)

    def shape(self, *args: Expression) -> Shape:
        require_rank(self.name, "x", 0, args[0], 1, 2)
        return args[0].shape

    def sign(self, *args: Expression) -> Sign:
        return args[0].sign

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.cumsum({-args[0].rank})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        size = args[0].shape[0]  # cvxpy's own cumsum has no form within a quadratic
        return cp.Constant(np.tril(np.ones((size, size)))) @ args[0]


CUMSUM = Cumsum()
