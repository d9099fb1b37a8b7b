"""Points of closed forms and of smooth problems, by the names of their parts."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from declarative.runtime.problem import Point


class EqualityPoint(NamedTuple):
    """A solution under equality constraints."""

    x: Tensor
    """(*batch, n)."""
    eq: Tensor
    """(*batch, p), free in sign."""

    @property
    def kkt(self) -> Point:
        """The point as the layer's problem takes it."""
        return tuple(self)


class BoundedPoint(NamedTuple):
    """A solution under equality constraints and bounds."""

    x: Tensor
    """(*batch, n)."""
    eq: Tensor
    """(*batch, p), free in sign."""
    bounds: Tensor
    """(*batch, n), positive at an upper bound, negative at a lower one."""

    @property
    def kkt(self) -> Point:
        """The point as a quadratic program takes it, with no multipliers of general inequalities."""
        return self.x, self.eq, self.x[..., :0], self.bounds


class RowPoint(NamedTuple):
    """A solution under one row and bounds."""

    x: Tensor
    """(*batch, n)."""
    row: Tensor
    """(*batch, 1), positive where the row holds from above, negative where from below."""
    bounds: Tensor
    """(*batch, n), positive at an upper bound, negative at a lower one."""

    @property
    def kkt(self) -> Point:
        """The point as the layer's problem takes it, which knows the multipliers of the bounds by itself."""
        return self.x, self.row


class PrimalPoint(NamedTuple):
    """A solution alone."""

    x: Tensor
    """(*batch, n)."""

    @property
    def kkt(self) -> Point:
        """The point as the layer's problem takes it."""
        return tuple(self)


class SemidefinitePoint(NamedTuple):
    """A positive semidefinite matrix, row by row, and the multiplier of its cone."""

    x: Tensor
    """(*batch, n * n)."""
    psd: Tensor
    """(*batch, n * n), positive semidefinite too."""

    @property
    def kkt(self) -> Point:
        """The point as the layer's problem takes it, which knows the multiplier by itself."""
        return (self.x,)


class BoxPoint(NamedTuple):
    """A solution under bounds."""

    x: Tensor
    """(*batch, n)."""
    bounds: Tensor
    """(*batch, n), positive at an upper bound, negative at a lower one."""

    @property
    def kkt(self) -> Point:
        """The point as a quadratic program takes it."""
        return self.x, self.x[..., :0], self.x[..., :0], self.bounds


class InequalityPoint(NamedTuple):
    """A solution under inequalities."""

    x: Tensor
    """(*batch, n)."""
    ineq: Tensor
    """(*batch, m), nonnegative."""

    @property
    def kkt(self) -> Point:
        """The point as a quadratic program takes it."""
        return self.x, self.x[..., :0], self.ineq, self.x * 0


class LocalPoint(NamedTuple):
    """A stationary point of a local problem."""

    x: Tensor
    """(*batch, n)."""
    eq: Tensor
    """(*batch, p), free in sign."""
    ineq: Tensor
    """(*batch, m), nonnegative."""

    @property
    def kkt(self) -> Point:
        """The point as a local problem takes it, which is as it is."""
        return tuple(self)


class RootPoint(NamedTuple):
    """A root of a system of equations."""

    x: Tensor
    """(*batch, n)."""
