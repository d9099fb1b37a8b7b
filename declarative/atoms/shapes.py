"""The shape rules that several functions share, and the messages for what breaks them."""

from __future__ import annotations

from declarative.ir.atom import AtomError
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape, show
from declarative.ir.show import show as notation

KINDS = {0: "a scalar", 1: "a vector", 2: "a matrix"}


def join(name: str, *args: Expression) -> Shape:
    """Shape of an elementwise function: all arguments of one shape, scalars apart. There is no broadcasting."""
    shape: Shape = ()
    for arg in args:
        if not arg.shape or arg.shape == shape:
            continue
        if shape:
            raise AtomError(
                f"`{name}` needs equal shapes or a scalar, but {show(shape)} meets {show(arg.shape)}",
                label=difference(shape, arg.shape),
                help=_transposed(args, shape, arg),
            )
        shape = arg.shape
    return shape


def _transposed(args: tuple[Expression, ...], shape: Shape, arg: Expression) -> str | None:
    if arg.rank == 2 and arg.shape[::-1] == shape and len(args) == 2:
        return f"transpose one of them: {quoted(arg)}'"
    return None


def difference(a: Shape, b: Shape) -> str:
    """The words under a misfit: ``n is not m``."""
    if len(a) != len(b):
        return f"{KINDS.get(len(a), show(a))} is not {KINDS.get(len(b), show(b))}"
    return next((f"{i} is not {j}" for i, j in zip(a, b, strict=True) if i != j), "")


def quoted(expression: Expression) -> str:
    """The expression as an operand in a help text."""
    text = notation(expression)
    stands_alone = text.isidentifier() or (text.endswith((")", "]")) and " " not in text)
    return text if stands_alone else f"({text})"


def require_rank(name: str, argument: str, position: int, arg: Expression, *ranks: int) -> None:
    """Raises `AtomError` unless the argument is a scalar, a vector or a matrix, as told."""
    if arg.rank not in ranks:
        wanted = " or ".join(KINDS[rank] for rank in ranks)
        raise AtomError(
            f"`{name}` takes {wanted} as `{argument}`, not {show(arg.shape)}",
            argument=position,
            label=f"this is {KINDS.get(arg.rank, show(arg.shape))}",
        )


def require_square(name: str, argument: str, position: int, arg: Expression) -> None:
    """Raises `AtomError` unless the argument is a square matrix."""
    require_rank(name, argument, position, arg, 2)
    rows, columns = arg.shape
    if rows != columns:
        raise AtomError(
            f"`{name}` needs a square matrix, not {show(arg.shape)}",
            argument=position,
            label=f"{rows} is not {columns}",
        )
