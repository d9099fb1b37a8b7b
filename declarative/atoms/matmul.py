"""``A @ B``: matrix product, matrix times vector, inner product of two vectors.

Affine where one factor is constant. ``x @ x`` and ``x @ P @ x`` with P positive (negative) semidefinite are the convex
(concave) quadratics ``sum_squares(x)`` and ``quad_form(x, P)``. A constant scalar in front of the first or of the last
factor, as in ``1/2 * x @ P @ x``, which is read as ``(1/2 * x) @ P @ x``, belongs to the whole.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

from declarative.atoms.constants import same
from declarative.atoms.div import DIV
from declarative.atoms.entropy import entropy_term
from declarative.atoms.mul import MUL
from declarative.atoms.quad_form import QUAD_FORM
from declarative.atoms.shapes import KINDS, quoted
from declarative.atoms.sum import SUM
from declarative.atoms.sum_squares import SUM_SQUARES
from declarative.ir.atom import Atom, AtomError, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.definiteness import is_gram, is_nsd, is_psd
from declarative.ir.expression import Call, Constant, Expression, Let
from declarative.ir.shape import Shape, show

ONE = Constant(1.0)


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
        match quadratic_form(a, b):
            case Quadratic(factor, _, None):
                return factor.sign
            case Quadratic(factor, _, P) if P is not None and (is_psd(P) or is_nsd(P)):
                return factor.sign if is_psd(P) else -factor.sign
        return a.sign * b.sign

    def intrinsic(self, *args: Expression) -> Curvature:
        a, b = args
        if a.is_constant or b.is_constant:
            return Curvature.AFFINE
        match quadratic_form(a, b):
            case Quadratic(factor, _, None):
                return _bent(factor)
            case Quadratic(factor, x, P) if P is not None and x.curvature.is_affine:
                return _bent(factor) if is_psd(P) else -_bent(factor) if is_nsd(P) else Curvature.UNKNOWN
        return MUL.intrinsic(a, b) if _is_entropy(a, b) else Curvature.UNKNOWN

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        a, b = args
        if _is_entropy(a, b):
            return MUL.monotonicity(a, b)
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
        """``sum_squares(x)`` or ``quad_form(x, P)`` of a quadratic form in an expression that is not constant, and the
        sum of the terms of ``x @ log(x)``."""
        a, b = args
        if a.is_constant or b.is_constant:
            return None
        if _is_entropy(a, b):
            terms = MUL.expand(a, b)
            return None if terms is None else Call(SUM, (terms,))
        found = quadratic_form(a, b)
        if found is None:
            return None
        factor, x, P = found
        square = Call(SUM_SQUARES, (x,)) if P is None else Call(QUAD_FORM, (x, P))
        return square if factor == ONE else Call(MUL, (factor, square))


class Quadratic(NamedTuple):
    """``factor * x @ P @ x`` with a constant scalar factor and a constant P; P is None for ``factor * x @ x``."""

    factor: Expression
    x: Expression
    P: Expression | None


def quadratic_form(a: Expression, b: Expression) -> Quadratic | None:
    """The quadratic form that ``a @ b`` of two vectors is; None if it is none."""
    if a.rank != 1 or b.rank != 1:
        return None
    (factor_a, a), (factor_b, b) = _scaled(a), _scaled(b)
    factor = _times(factor_a, factor_b)
    if same(a, b):
        return Quadratic(factor, a, None)
    for x, other in ((b, _opened(a)), (a, _opened(b))):
        if not isinstance(other, Call) or other.atom.name != "matmul":
            continue
        for P, y in (other.args, other.args[::-1]):
            if P.rank == 2 and P.is_constant and same(x, y):
                return Quadratic(factor, x, P)
    return None


def _scaled(e: Expression) -> tuple[Expression, Expression]:
    """A vector as a constant scalar and the vector without it, which is looked for inside of products by a matrix."""
    if isinstance(e, Let):
        factor, inner = _scaled(e.body)
        return (ONE, e) if factor == ONE else (factor, inner)
    if not isinstance(e, Call):
        return ONE, e
    name, (first, *rest) = e.atom.name, e.args
    if name == "neg":
        factor, inner = _scaled(first)
        return _times(Constant(-1.0), factor), inner
    if name == "div" and not rest[0].shape and rest[0].is_constant:
        factor, inner = _scaled(first)
        return Call(DIV, (factor, rest[0])), inner
    if name == "mul":
        for c, x in (e.args, e.args[::-1]):
            if x.shape and not c.shape and c.is_constant:
                factor, inner = _scaled(x)
                return _times(c, factor), inner
    if name == "matmul":
        for position, x in enumerate(e.args):
            factor, inner = _scaled(x) if x.rank == 1 else (ONE, x)
            if factor != ONE:
                return factor, Call(MATMUL, (inner, e.args[1]) if position == 0 else (e.args[0], inner))
    return ONE, e


def _times(a: Expression, b: Expression) -> Expression:
    return b if a == ONE else a if b == ONE else Call(MUL, (a, b))


def _is_entropy(a: Expression, b: Expression) -> bool:
    """Whether ``a @ b`` sums the entropy terms of two vectors."""
    vectors = a.rank == b.rank == 1 and not a.is_constant and not b.is_constant
    return vectors and entropy_term(a, b) is not None


def _bent(factor: Expression) -> Curvature:
    """The curvature of a convex function times a factor."""
    if factor.sign.is_nonneg:
        return Curvature.CONVEX
    return Curvature.CONCAVE if factor.sign.is_nonpos else Curvature.UNKNOWN


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
