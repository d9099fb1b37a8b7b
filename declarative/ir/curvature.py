"""Sign, monotonicity and curvature, and the composition rule of disciplined convex programming.

f(g_1(x), ..., g_k(x)) is convex if f is convex and each g_i is affine, or convex where f increases in argument i, or
concave where f decreases in it; concave likewise with the senses exchanged.

Reference: Grant, Boyd and Ye, Disciplined convex programming, 2006.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum


class Sign(Enum):
    """What is known of every entry's sign."""

    ZERO = "zero"
    NONNEG = "nonneg"
    NONPOS = "nonpos"
    UNKNOWN = "unknown"

    def __neg__(self) -> Sign:
        return {Sign.NONNEG: Sign.NONPOS, Sign.NONPOS: Sign.NONNEG}.get(self, self)

    def __add__(self, other: Sign) -> Sign:
        if self is Sign.ZERO or self is other:
            return other
        return self if other is Sign.ZERO else Sign.UNKNOWN

    def __mul__(self, other: Sign) -> Sign:
        if Sign.ZERO in (self, other):
            return Sign.ZERO
        if Sign.UNKNOWN in (self, other):
            return Sign.UNKNOWN
        return Sign.NONNEG if self is other else Sign.NONPOS

    @property
    def is_nonneg(self) -> bool:
        return self in (Sign.NONNEG, Sign.ZERO)

    @property
    def is_nonpos(self) -> bool:
        return self in (Sign.NONPOS, Sign.ZERO)

    @staticmethod
    def of(value: float) -> Sign:
        return Sign.ZERO if value == 0 else Sign.NONNEG if value > 0 else Sign.NONPOS


class Monotonicity(Enum):
    """How a function moves with one argument."""

    INCREASING = "increasing"
    DECREASING = "decreasing"
    NONE = "none"

    @staticmethod
    def of(sign: Sign) -> Monotonicity:
        """Of ``c * x`` in x, by the sign of c."""
        if sign.is_nonneg:
            return Monotonicity.INCREASING
        return Monotonicity.DECREASING if sign.is_nonpos else Monotonicity.NONE


class Curvature(Enum):
    """What is known of an expression as a function of the variables; CONSTANT means that none occurs in it."""

    CONSTANT = "constant"
    AFFINE = "affine"
    CONVEX = "convex"
    CONCAVE = "concave"
    UNKNOWN = "unknown"

    def __neg__(self) -> Curvature:
        return {Curvature.CONVEX: Curvature.CONCAVE, Curvature.CONCAVE: Curvature.CONVEX}.get(self, self)

    @property
    def is_affine(self) -> bool:
        return self in (Curvature.CONSTANT, Curvature.AFFINE)

    @property
    def is_convex(self) -> bool:
        return self.is_affine or self is Curvature.CONVEX

    @property
    def is_concave(self) -> bool:
        return self.is_affine or self is Curvature.CONCAVE


def admissible(outer: Curvature, monotonicity: Monotonicity, inner: Curvature) -> bool:
    """Whether an argument may stand inside a function that is ``outer`` (convex or concave) and monotone as told."""
    if inner.is_affine:
        return True
    wanted = {
        Monotonicity.INCREASING: outer,
        Monotonicity.DECREASING: -outer,
        Monotonicity.NONE: Curvature.AFFINE,
    }[monotonicity]
    return inner is wanted


def compose(outer: Curvature, monotonicity: Sequence[Monotonicity], inner: Sequence[Curvature]) -> Curvature:
    """The composition rule. ``outer`` is the function's own curvature (AFFINE, CONVEX, CONCAVE or UNKNOWN)."""
    if all(c is Curvature.CONSTANT for c in inner):
        return Curvature.CONSTANT
    if outer is Curvature.UNKNOWN:
        return Curvature.UNKNOWN
    if outer.is_affine and all(c.is_affine for c in inner):
        return Curvature.AFFINE
    for candidate in (Curvature.CONVEX, Curvature.CONCAVE):
        fits = outer.is_affine or outer is candidate
        if fits and all(admissible(candidate, m, c) for m, c in zip(monotonicity, inner, strict=True)):
            return candidate
    return Curvature.UNKNOWN
