"""Matrices that no program writes but every canonical form needs: the identity, and tensors of one number.

They are expressions of symbolic size, so that a coefficient such as ``2 * (A' @ A + rho * I)`` is an expression too.
"""

from __future__ import annotations

from dataclasses import dataclass

from declarative.ir.curvature import Curvature, Sign
from declarative.ir.expression import Expression
from declarative.ir.shape import Shape, Size


@dataclass(frozen=True)
class Identity(Expression):
    """The identity matrix of a symbolic size."""

    size: Size

    @property
    def shape(self) -> Shape:
        return (self.size, self.size)

    @property
    def sign(self) -> Sign:
        return Sign.NONNEG

    @property
    def curvature(self) -> Curvature:
        return Curvature.CONSTANT


@dataclass(frozen=True)
class Full(Expression):
    """A tensor filled with one number."""

    number: float
    filled: Shape

    @property
    def shape(self) -> Shape:
        return self.filled

    @property
    def sign(self) -> Sign:
        return Sign.of(self.number)

    @property
    def curvature(self) -> Curvature:
        return Curvature.CONSTANT
