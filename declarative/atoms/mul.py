"""``a * b``: entry by entry, or by a scalar.

Affine where one factor is constant. ``a * a`` is the square of a, hence convex, and ``a * log(a)`` an entropy term;
other products of variables have no curvature.
"""

from __future__ import annotations

import functools
from typing import Any, final

from declarative.atoms.constants import same
from declarative.atoms.entropy import entropy_term
from declarative.atoms.shapes import join, quoted
from declarative.atoms.square import SQUARE
from declarative.ir.atom import Atom, AtomError, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.definiteness import is_nsd, is_psd
from declarative.ir.expression import Call, Expression
from declarative.ir.shape import Shape


@final
class Mul(Atom):
    name = "mul"
    doc = "Product entry by entry of two equal shapes, or by a scalar; one factor is constant, or both are equal."
    formula = "a * b"
    arguments = ("a", "b")

    def shape(self, *args: Expression) -> Shape:
        a, b = args
        try:
            return join("*", a, b)
        except AtomError as error:
            if a.rank == 2 and a.shape[-1] == b.shape[0]:
                raise AtomError(
                    error.message, label=error.label, help=f"for the product of matrices: {quoted(a)} @ {quoted(b)}"
                ) from None
            raise

    def sign(self, *args: Expression) -> Sign:
        a, b = args
        return Sign.NONNEG if same(a, b) else a.sign * b.sign

    def intrinsic(self, *args: Expression) -> Curvature:
        a, b = args
        if a.is_constant or b.is_constant:
            return Curvature.AFFINE
        if same(a, b):
            return Curvature.CONVEX
        entropic = entropy_term(a, b)
        return Curvature.UNKNOWN if entropic is None else entropic.curvature

    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        a, b = args
        entropic = None if a.is_constant or b.is_constant else entropy_term(a, b)
        if entropic is not None:  # one function of x: the bend of its logarithm is part of its own
            of_log = Monotonicity.DECREASING if entropic.curvature is Curvature.CONVEX else Monotonicity.INCREASING
            return (of_log, Monotonicity.NONE) if entropic.log == 0 else (Monotonicity.NONE, of_log)
        return (Monotonicity.of(b.sign), Monotonicity.of(a.sign))

    def torch(self, *args: Operand) -> str:
        a, b = args
        rank = max(a.rank, b.rank)
        return f"({a.lifted(rank)} * {b.lifted(rank)})"

    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        a, b = args
        return cp.multiply(a, b)

    def is_psd(self, *args: Expression) -> bool:
        """Of a nonnegative multiple of a psd matrix, or of the product entry by entry of two (Schur)."""
        for factor, matrix in (args, args[::-1]):
            if not factor.shape:
                return (factor.sign.is_nonneg and is_psd(matrix)) or (factor.sign.is_nonpos and is_nsd(matrix))
        return all(is_psd(arg) for arg in args)

    def expand(self, *args: Expression) -> Expression | None:
        """``square(a)`` of equal factors that are not constant, ``-entr(a)`` of a factor and its logarithm."""
        a, b = args
        if a.is_constant or b.is_constant:
            return None
        if same(a, b):
            return Call(SQUARE, (a,))
        entropic = entropy_term(a, b)
        if entropic is None:
            return None
        return functools.reduce(lambda term, factor: Call(MUL, (factor, term)), entropic.factors, entropic.term)


MUL = Mul()
