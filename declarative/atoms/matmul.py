"""``A @ B``: matrix product, matrix times vector, inner product of two vectors.

Affine where one factor is constant. ``x @ x`` and ``x @ P @ x`` with P positive (negative) semidefinite are the convex
(concave) quadratics ``sum_squares(x)`` and ``quad_form(x, P)``.
"""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.constants import same
from declarative.atoms.quad_form import QUAD_FORM
from declarative.atoms.shapes import KINDS, quoted
from declarative.atoms.sum_squares import SUM_SQUARES
from declarative.ir.atom import Atom, AtomError, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.definiteness import is_gram, is_nsd, is_psd
from declarative.ir.expression import Call, Expression, Let
from declarative.ir.shape import Shape, show


@final
class MatMul(Atom):
    name = "matmul"
    doc = (
        "Product of matrices, of a matrix and a vector, or the inner product of two vectors; one factor is constant, "
        "or the whole is a semidefinite quadratic form."
    )
    formula = "A @ B"
    arguments = ("A", "B")

    def shape(self, *args: Expression) -> Shape:
        a, b = args
        for position, arg in enumerate(args):
            if arg.rank not in (1, 2):
                raise AtomError(
                    f"`@` multiplies vectors and matrices, but {show(a.shape)} meets {show(b.shape)}",
                    argument=position,
                    label=f"this is {KINDS.get(arg.rank, show(arg.shape))}",
                    help=f"write the product with a scalar as {quoted(a)} * {quoted(b)}" if not arg.shape else None,
                )
        if _is_row(b) and a.rank == 1:
            inner = b.children[0]
            raise AtomError(
                "`@` of two vectors is their inner product, and `'` of a vector is the vector itself",
                help=f"for the matrix of all products: outer({_plain(a)}, {_plain(inner)})",
            )
        if a.shape[-1] != b.shape[0]:
            raise self._misfit(a, b)
        return a.shape[:-1] + b.shape[1:]

    @staticmethod
    def _misfit(a: Expression, b: Expression) -> AtomError:
        help = None
        if a.rank == 2 and a.shape[0] == b.shape[0]:
            help = f"transpose the matrix: {_transposed(a)} @ {quoted(b)}"
        elif b.rank == 2 and a.shape[-1] == b.shape[1]:
            help = f"transpose the matrix: {quoted(a)} @ {_transposed(b)}"
        elif a.rank == b.rank == 1:
            help = f"for the matrix of all products: outer({_plain(a)}, {_plain(b)})"
        return AtomError(
            f"`@` needs equal inner sizes, but {show(a.shape)} meets {show(b.shape)}",
            label=f"{a.shape[-1]} is not {b.shape[0]}",
            help=help,
        )

    def sign(self, *args: Expression) -> Sign:
        a, b = args
        if a.rank == b.rank == 1:
            match quadratic_form(a, b):
                case (_, None):
                    return Sign.NONNEG
                case (_, P) if P is not None:
                    return Sign.NONNEG if is_psd(P) else Sign.NONPOS if is_nsd(P) else a.sign * b.sign
        return a.sign * b.sign

    def intrinsic(self, *args: Expression) -> Curvature:
        a, b = args
        if a.is_constant or b.is_constant:
            return Curvature.AFFINE
        match quadratic_form(a, b):
            case (_, None):
                return Curvature.CONVEX
            case (x, P) if P is not None and x.curvature.is_affine:
                return Curvature.CONVEX if is_psd(P) else Curvature.CONCAVE if is_nsd(P) else Curvature.UNKNOWN
        return Curvature.UNKNOWN

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        a, b = args
        return (Monotonicity.of(b.sign), Monotonicity.of(a.sign))

    def torch(self, *args: Operand) -> str:
        a, b = args
        match a.rank, b.rank:
            case 1, 1:
                return f"({a} * {b}).sum(-1)"
            case 2, 1:
                return f"({a} @ {b}[..., None])[..., 0]"
            case 1, 2:
                return f"({a}[..., None, :] @ {b})[..., 0, :]"
        return f"({a} @ {b})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        a, b = args
        return a @ b

    def is_psd(self, *args: Expression) -> bool:
        return is_gram(*args)

    def expand(self, *args: Expression) -> Expression | None:
        """``sum_squares(x)`` or ``quad_form(x, P)`` of a quadratic form in an expression that is not constant."""
        a, b = args
        if a.is_constant or b.is_constant:
            return None
        match quadratic_form(a, b):
            case (x, None):
                return Call(SUM_SQUARES, (x,))
            case (x, P) if P is not None:
                return Call(QUAD_FORM, (x, P))
        return None


def quadratic_form(a: Expression, b: Expression) -> tuple[Expression, Expression | None] | None:
    """x and P if ``a @ b`` is ``x @ P @ x`` with constant P; P is None for ``x @ x``; None if it is neither."""
    if a.rank != 1 or b.rank != 1:
        return None
    if same(a, b):
        return a, None
    match _opened(a):
        case Call(atom=atom, args=(x, P)) if atom.name == "matmul" and P.rank == 2 and P.is_constant and same(x, b):
            return b, P
        case Call(atom=atom, args=(P, x)) if atom.name == "matmul" and P.rank == 2 and P.is_constant and same(x, b):
            return b, P
    match _opened(b):
        case Call(atom=atom, args=(P, x)) if atom.name == "matmul" and P.rank == 2 and P.is_constant and same(x, a):
            return a, P
        case Call(atom=atom, args=(x, P)) if atom.name == "matmul" and P.rank == 2 and P.is_constant and same(x, a):
            return a, P
    return None


def _opened(expression: Expression) -> Expression:
    return _opened(expression.body) if isinstance(expression, Let) else expression


def _is_row(expression: Expression) -> bool:
    return isinstance(expression, Call) and expression.atom.name == "transpose" and expression.rank == 1


def _transposed(matrix: Expression) -> str:
    """The transpose in a help text; of a transpose, the matrix itself."""
    if isinstance(matrix, Call) and matrix.atom.name == "transpose":
        return quoted(matrix.args[0])
    return f"{quoted(matrix)}'"


def _plain(expression: Expression) -> str:
    text = quoted(expression)
    return text[1:-1] if text.startswith("(") else text


MATMUL = MatMul()
