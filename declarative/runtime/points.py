"""Points of closed forms and of smooth problems, by the names of their parts."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class EqualityPoint(NamedTuple):
    """A solution under equality constraints."""

    x: Tensor
    """(*batch, n)."""
    eq: Tensor
    """(*batch, p), free in sign."""


class BoundedPoint(NamedTuple):
    """A solution under equality constraints and bounds."""

    x: Tensor
    """(*batch, n)."""
    eq: Tensor
    """(*batch, p), free in sign."""
    bounds: Tensor
    """(*batch, n), positive at an upper bound, negative at a lower one."""


class LocalPoint(NamedTuple):
    """A stationary point of a local problem."""

    x: Tensor
    """(*batch, n)."""
    eq: Tensor
    """(*batch, p), free in sign."""
    ineq: Tensor
    """(*batch, m), nonnegative."""


class RootPoint(NamedTuple):
    """A root of a system of equations."""

    x: Tensor
    """(*batch, n)."""
