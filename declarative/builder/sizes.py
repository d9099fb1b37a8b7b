"""Symbolic sizes in Python: dimensions and indices with ``+``, ``-`` and ``*`` by whole numbers."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

from declarative.builder.place import failure, here
from declarative.builder.scope import Declaration, Scope, check_name, join, tick
from declarative.ir.expression import IndexRange
from declarative.ir.program import Dimension
from declarative.ir.shape import Shape, Size

if TYPE_CHECKING:
    from declarative.builder.term import Term

RULE = "a size is built from dims and whole numbers with `+`, `-` and `*` by a whole number"


@final
class Dim:
    """A size: a dimension, an index of `total` or `forall`, or a whole affine expression of them.

    Where an expression is expected it is the number: ``1/n``, ``t * x``.
    """

    __array_ufunc__ = None

    def __init__(self, size: Size, scope: Scope, ranges: Mapping[str, IndexRange]) -> None:
        self.size, self.scope, self.ranges = size, scope, ranges

    def __repr__(self) -> str:
        return str(self.size)

    def _combined(self, other: Dim | int, sign: int) -> Dim:
        if isinstance(other, int):
            return Dim(self.size + sign * other, self.scope, self.ranges)
        return Dim(self.size + other.size * sign, join(self.scope, other.scope), {**self.ranges, **other.ranges})

    def __add__(self, other: Any) -> Any:
        return self._combined(other, 1) if isinstance(other, Dim | int) else self._number(other, "__add__")

    def __radd__(self, other: Any) -> Any:
        return self + other if isinstance(other, int) else self._number(other, "__radd__")

    def __sub__(self, other: Any) -> Any:
        return self._combined(other, -1) if isinstance(other, Dim | int) else self._number(other, "__sub__")

    def __rsub__(self, other: Any) -> Any:
        return -self + other if isinstance(other, int) else self._number(other, "__rsub__")

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, int):
            return Dim(self.size * other, self.scope, self.ranges)
        return self._number(other, "__mul__")

    def __rmul__(self, other: Any) -> Any:
        return self * other if isinstance(other, int) else self._number(other, "__rmul__")

    def __neg__(self) -> Dim:
        return self * -1  # type: ignore[no-any-return]

    def __truediv__(self, other: Any) -> Any:
        return self._number(other, "__truediv__")

    def __rtruediv__(self, other: Any) -> Any:
        return self._number(other, "__rtruediv__")

    def __pow__(self, other: Any) -> Any:
        return self._number(other, "__pow__")

    def _number(self, other: object, operation: str) -> Any:
        """The operation on the size as a number, which gives an expression."""
        from declarative.builder.term import as_term

        number: Term = as_term(self)
        return getattr(number, operation)(other)


SizeLike = int | str | Dim


def dim(name: str, default: int | None = None) -> Dim:
    """A dimension: taken from the shapes of the parameters at the call, or ``default`` where they do not tell it."""
    check_name(name, "dim")
    if default is not None and (not isinstance(default, int) or isinstance(default, bool) or default < 1):
        raise failure("E206", f"the size of a dim must be a whole number from 1, not {default}")
    declaration = Declaration(Dimension(name, default, at=here()), (tick(), 0))
    return Dim(Size.of(name), {name: declaration}, {})


def dims(*names: str) -> tuple[Dim, ...]:
    """Several dimensions: ``m, n = dims("m", "n")``."""
    return tuple(dim(name) for name in names)


def as_dim(value: SizeLike, order: int | None = None) -> Dim:
    """A size from a whole number, a `Dim` or text such as ``"T + 1"``; raises for anything else."""
    if isinstance(value, Dim):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Dim(Size(value), {}, {})
    if isinstance(value, str):
        return _parsed(value, tick() if order is None else order)
    raise failure("E206", f"`{value!r}` is not a size", notes=(RULE,))


def as_shape(sizes: tuple[SizeLike, ...], order: int) -> tuple[Shape, Scope]:
    """A declared shape: scalar, vector or matrix."""
    found = [as_dim(size, order) for size in sizes]
    if len(found) > 2:
        raise failure(
            "E213",
            f"a shape has at most two sizes, not {len(found)}",
            notes=("batch dimensions are never written: the leading dimensions of the tensors are the batch",),
        )
    for size in (d.size for d in found):
        if size.is_number and size.constant < 1:
            raise failure("E206", f"a size must be at least 1, not {size.constant}")
    ordered = join(*(_placed(d.scope, position) for position, d in enumerate(found)))
    return tuple(d.size for d in found), ordered


def _placed(scope: Scope, position: int) -> Scope:
    """Dimensions that a shape mentions come in the order of its sizes."""
    return {
        name: Declaration(d.node, (d.order[0], position), mentioned=True) if d.mentioned else d
        for name, d in scope.items()
    }


def _parsed(text: str, order: int) -> Dim:
    try:
        size = _of_syntax(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError:
        size = None
    if size is None:
        raise failure("E206", f"`{text}` is not a size", notes=(RULE,))
    for name in size.names:
        check_name(name, "dim")
    scope = {name: Declaration(Dimension(name, at=here()), (order, 0), mentioned=True) for name in sorted(size.names)}
    return Dim(size, scope, {})


def _of_syntax(node: ast.expr) -> Size | None:
    match node:
        case ast.Name(id=name):
            return Size.of(name)
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return Size(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _of_syntax(operand)
            return None if inner is None else -inner
        case ast.BinOp(left=left, op=operator, right=right):
            first, second = _of_syntax(left), _of_syntax(right)
            if first is None or second is None:
                return None
            match operator:
                case ast.Add():
                    return first + second
                case ast.Sub():
                    return first - second
                case ast.Mult() if first.is_number or second.is_number:
                    return first * second.constant if second.is_number else second * first.constant
    return None
