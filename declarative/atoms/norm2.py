"""``norm2(x)``: the Euclidean norm of a vector. Its gradient at 0 is taken as 0."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import KINDS
from declarative.ir.atom import Atom, AtomError, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape, show


@final
class Norm2(Atom):
    name = "norm2"
    doc = "Euclidean norm of a vector."
    formula = "sqrt(sum_i x_i^2)"
    latex = r"\lVert #1 \rVert_2"
    latex_level = "function"
    arguments = ("x",)
    smooth = False

    def shape(self, *args: Expression) -> Shape:
        (x,) = args
        if x.rank > 1:
            raise AtomError(
                f"`norm2` is the norm of a vector, not of {KINDS.get(x.rank, show(x.shape))}",
                argument=0,
                label=f"this is {show(x.shape)}",
                help="for the root of the sum of squares of all entries: norm_fro",
            )
        return ()

    def sign(self, *args: Expression) -> Sign:
        return Sign.NONNEG

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.CONVEX

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.of(args[0].sign),)

    def torch(self, *args: Operand) -> str:
        (x,) = args
        return f"torch.linalg.vector_norm({x.text}, dim=-1)" if x.rank else f"{x}.abs()"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.norm2(args[0])


NORM2 = Norm2()
