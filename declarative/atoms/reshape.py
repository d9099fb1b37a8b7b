"""``reshape(x, m, n)``: the entries of x, row by row, in another shape."""

from __future__ import annotations

from typing import Any, final

from declarative.ir.atom import Atom, AtomError, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import Constant, Expression, SizeValue
from declarative.ir.shape import Shape, Size, count, show


@final
class Reshape(Atom):
    name = "reshape"
    doc = "The same entries, row by row, in the shape of the sizes given."
    formula = "X with X_ij = x_(i n + j)"
    arguments = ("x", "m")
    variadic = True
    domain = ("any", "size")

    def shape(self, *args: Expression) -> Shape:
        x, *sizes = args
        shape = tuple(self._size(position, size) for position, size in enumerate(sizes, 1))
        before, after = count(x.shape), count(shape)
        if before is not None and after is not None and before != after:
            raise AtomError(
                f"`reshape` keeps the number of entries, but {show(x.shape)} has {before} and {show(shape)} has {after}"
            )
        return shape

    def sign(self, *args: Expression) -> Sign:
        return args[0].sign

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING, *(Monotonicity.NONE for _ in args[1:]))

    def latex_of(self, *args: Expression) -> str:
        sizes = r" \times ".join(f"#{i}" for i in range(2, len(args) + 1))
        return rf"\operatorname{{reshape}}_{{{sizes}}}(#1)"

    def torch(self, *args: Operand) -> str:
        x, *sizes = args
        flat = f"{x}[..., None]" if not x.rank else str(x) if x.rank == 1 else f"{x}.flatten({-x.rank})"
        return flat if len(sizes) == 1 else f"{flat}.unflatten(-1, ({', '.join(size.text for size in sizes)}))"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        x, *sizes = args
        return cp.reshape(x, tuple(int(getattr(size, "value", size)) for size in sizes), order="C")

    @staticmethod
    def _size(position: int, size: Expression) -> Size:
        match size:
            case SizeValue(size=value):
                return value
            case Constant(value=float() as value) if value == int(value) and value > 0:
                return Size(int(value))
        raise AtomError("the shape given to `reshape` consists of sizes", argument=position, label="this is not a size")


RESHAPE = Reshape()
