"""Which matrices are known to be semidefinite, whatever the data: what makes a quadratic form convex.

Known are parameters declared so, and what keeps the property: sums, nonnegative multiples, the transpose, the inverse,
the Gram matrices ``A' @ A`` and ``A @ A'``, congruences ``A' @ P @ A``, and a diagonal of nonnegative entries. The rule
of each function is its own, in `Atom.is_psd`.
"""

from __future__ import annotations

from dataclasses import replace

from declarative.ir.expression import Call, Constant, Expression, Let, Symbol, flat
from declarative.ir.traverse import without_lets

LINEAR = ("add", "transpose")


def is_psd(expression: Expression) -> bool:
    """Whether a scalar, or every symmetric matrix that the expression may be, is positive semidefinite."""
    if not expression.shape:
        return expression.sign.is_nonneg
    match expression:
        case Let(body=body):
            return is_psd(body)
        case Symbol(attributes=attributes):
            return "psd" in attributes or {"diag", "nonneg"} <= attributes
        case Constant():
            return _is_nonneg_diagonal(expression)
        case Call(atom=atom, args=args):
            return atom.is_psd(*args)
    return False


def is_nsd(expression: Expression) -> bool:
    """Whether the negative is positive semidefinite."""
    if not expression.shape:
        return expression.sign.is_nonpos
    match expression:
        case Let(body=body):
            return is_nsd(body)
        case Symbol(attributes=attributes):
            return "nsd" in attributes or {"diag", "nonpos"} <= attributes
        case Call(atom=atom, args=(x,)) if atom.name == "neg":
            return is_psd(x)
        case Call(atom=atom, args=args) if atom.name in LINEAR:
            return all(is_nsd(arg) for arg in args)
        case Call(atom=atom, args=(a, b)) if atom.name in ("mul", "div"):
            return _is_nsd_multiple(a, b) or (atom.name == "mul" and _is_nsd_multiple(b, a))
        case Call(atom=atom, args=(x,)) if atom.name == "diag":
            return x.rank == 1 and x.sign.is_nonpos
        case Call(atom=atom, args=(x,)) if atom.name == "inv":
            return is_nsd(x)
    return False


def is_gram(a: Expression, b: Expression) -> bool:
    """Whether ``a @ b`` is ``M' @ M``, or a congruence ``M' @ P @ M`` with P positive semidefinite."""
    return gram(a, b) is not None


def gram(a: Expression, b: Expression) -> tuple[Expression, Expression | None] | None:
    """M and P of ``a @ b`` where that is ``M' @ P @ M``, P None for ``M' @ M``; None where it is neither."""
    if a.rank != 2 or b.rank != 2:
        return None
    a, b = without_lets(a), without_lets(b)
    if _are_transposes(a, b):
        return b, None
    left, right = _factors(a)
    if left is not None and right is not None and _are_transposes(left, b) and is_psd(right):
        return b, right
    left, right = _factors(b)
    if left is not None and right is not None and _are_transposes(a, right) and is_psd(left):
        return right, left
    return None


def _are_transposes(a: Expression, b: Expression) -> bool:
    return untransposed(a) == b or untransposed(b) == a


def untransposed(expression: Expression) -> Expression | None:
    """The matrix M of what is written as ``M'``, term by term too: ``A' - 2 * B'`` is that of ``A - 2 * B``, and a
    symmetric matrix is its own. None where a term is not written so."""
    match expression:
        case Let(body=body):
            return untransposed(body)
        case Call(atom=atom, args=(x,)) if atom.name == "transpose":
            return x
        case Symbol(attributes=attributes) if attributes & {"symmetric", "psd", "nsd", "diag"}:
            return expression
        case Call(atom=atom, args=args) if atom.name in ("add", "neg", "mul", "div"):
            parts = [x if not x.rank else untransposed(x) for x in args]
            return replace(expression, args=tuple(p for p in parts if p is not None)) if None not in parts else None
    return None


def _factors(expression: Expression) -> tuple[Expression | None, Expression | None]:
    match expression:
        case Call(atom=atom, args=(left, right)) if atom.name == "matmul":
            return left, right
    return None, None


def _is_nsd_multiple(matrix: Expression, factor: Expression) -> bool:
    if factor.shape:
        return False
    return (factor.sign.is_nonneg and is_nsd(matrix)) or (factor.sign.is_nonpos and is_psd(matrix))


def _is_nonneg_diagonal(constant: Constant) -> bool:
    """Of numbers written out: diagonal with nonnegative entries."""
    rows = constant.value
    if not isinstance(rows, tuple) or constant.rank != 2 or constant.shape[0] != constant.shape[1]:
        return False
    for i, row in enumerate(rows):
        for j, entry in enumerate(flat(row)):
            if (i != j and entry != 0) or entry < 0:
                return False
    return True
