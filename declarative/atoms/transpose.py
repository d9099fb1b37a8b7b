"""``A'``; of a vector or a scalar it is the thing itself."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import require_rank
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.definiteness import is_psd
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape


@final
class Transpose(Atom):
    name = "transpose"
    doc = "The transpose of a matrix; a vector or a scalar is its own."
    formula = "A'"
    latex = r"@1^\top"
    latex_level = "function"
    arguments = ("A",)

    def shape(self, *args: Expression) -> Shape:
        require_rank("'", "A", 0, args[0], 0, 1, 2)
        return args[0].shape[::-1]

    def sign(self, *args: Expression) -> Sign:
        return args[0].sign

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.mT" if args[0].rank == 2 else str(args[0])

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return args[0].T

    def is_psd(self, *args: Expression) -> bool:
        return is_psd(args[0])


TRANSPOSE = Transpose()
