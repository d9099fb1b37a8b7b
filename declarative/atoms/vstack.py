"""``vstack(x, Y, ...)``: vectors as rows, and matrices of equal width, one below the other."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.shapes import require_rank
from declarative.ir.atom import Atom, AtomError, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape, Size, show


@final
class Vstack(Atom):
    name = "vstack"
    doc = "Vectors (as rows) and matrices of equal width, one below the other."
    formula = "[x'; Y; ...]"
    latex_level = "atom"
    arguments = ("x",)
    variadic = True

    def shape(self, *args: Expression) -> Shape:
        rows = Size(0)
        width = args[0].shape[-1:]
        for position, arg in enumerate(args):
            require_rank(self.name, "x", position, arg, 1, 2)
            if arg.shape[-1:] != width:
                raise AtomError(
                    f"`vstack` needs rows of equal length, but {show(args[0].shape)} meets {show(arg.shape)}",
                    argument=position,
                    label=f"{arg.shape[-1]} is not {width[0]}",
                )
            rows = rows + (arg.shape[0] if arg.rank == 2 else 1)
        return (rows, *width)

    def sign(self, *args: Expression) -> Sign:
        if all(arg.sign.is_nonneg for arg in args):
            return Sign.NONNEG
        return Sign.NONPOS if all(arg.sign.is_nonpos for arg in args) else Sign.UNKNOWN

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,) * len(args)

    def latex_of(self, *args: Expression) -> str:
        rows = (rf"@{i}^\top" if e.rank == 1 else f"#{i}" for i, e in enumerate(args, 1))
        return r"\begin{bmatrix} " + r" \\ ".join(rows) + r" \end{bmatrix}"

    def torch(self, *args: Operand) -> str:
        rows = [str(arg) if arg.rank == 2 else f"{arg}[..., None, :]" for arg in args]
        return f"functions.vstack({', '.join(rows)})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.vstack(args)


VSTACK = Vstack()
