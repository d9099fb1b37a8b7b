"""``trace(X)``: the sum of the diagonal of a square matrix."""

from __future__ import annotations

from typing import Any, final

from declarative.atoms.add import ADD
from declarative.atoms.mul import MUL
from declarative.atoms.neg import NEG
from declarative.atoms.shapes import require_square
from declarative.atoms.sum import SUM
from declarative.atoms.sum_squares import SUM_SQUARES
from declarative.atoms.transpose import TRANSPOSE
from declarative.ir.atom import Atom, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.definiteness import gram, is_nsd, is_psd, untransposed
from declarative.ir.expression import Call, Expression, Let
from declarative.ir.shape import Shape


@final
class Trace(Atom):
    name = "trace"
    doc = "Trace of a square matrix; `trace(A' @ A)` is a sum of squares."
    formula = "sum_i X_ii"
    latex = r"\operatorname{tr}(#1)"
    arguments = ("X",)

    def shape(self, *args: Expression) -> Shape:
        require_square(self.name, "X", 0, args[0])
        return ()

    def sign(self, *args: Expression) -> Sign:
        (X,) = args
        return Sign.NONNEG if is_psd(X) else Sign.NONPOS if is_nsd(X) else X.sign

    def intrinsic(self, *args: Expression) -> Curvature:
        return Curvature.AFFINE

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        return (Monotonicity.INCREASING,)

    def torch(self, *args: Operand) -> str:
        return f"{args[0]}.diagonal(dim1=-2, dim2=-1).sum(-1)"

    def expand(self, *args: Expression) -> Expression | None:
        """Term by term: ``sum_squares(A)`` of ``A' @ A``, and ``sum(A' * B)`` of ``A @ B`` with a constant factor.

        None where no term is such a product.
        """
        return None if args[0].is_constant else _expanded(args[0])

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        return cp.trace(args[0])


TRACE = Trace()


def _expanded(X: Expression) -> Expression | None:
    match X:
        case Let(body=body):
            return _expanded(body)
        case Call(atom=atom, args=(a, b)) if atom.name == "add" and a.rank == b.rank:
            left, right = _expanded(a), _expanded(b)
            if left is None and right is None:
                return None
            return Call(ADD, (left or Call(TRACE, (a,)), right or Call(TRACE, (b,))))
        case Call(atom=atom, args=(a,)) if atom.name in ("neg", "transpose"):
            inner = _expanded(a)
            return inner if inner is None or atom.name == "transpose" else Call(NEG, (inner,))
        case Call(atom=atom, args=(a, b)) if atom.name in ("mul", "div") and a.rank + b.rank == 2:
            inner = _expanded(a if a.rank else b)
            return None if inner is None else Call(atom, (inner, b) if a.rank else (a, inner))
        case Call(atom=atom, args=(a, b)) if atom.name == "matmul" and a.rank == b.rank == 2:
            return _of_product(a, b)
    return None


def _of_product(a: Expression, b: Expression) -> Expression | None:
    """The inner product of a' and b, with no transpose of a variable where it can be that of the other factor."""
    if not a.is_constant and not b.is_constant:
        found = gram(a, b)
        if found is None or found[1] is not None:
            return None
        return Call(SUM_SQUARES, (untransposed(found[0]) or found[0],))
    constant, other = (a, b) if a.is_constant else (b, a)
    turned = untransposed(other)
    if turned is None:
        turned, constant = other, untransposed(constant) or Call(TRANSPOSE, (constant,))
    return Call(SUM, (Call(MUL, (constant, turned)),))
