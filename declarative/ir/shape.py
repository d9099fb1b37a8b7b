"""Symbolic sizes: affine integer expressions of dimensions, and of the indices that constraints and sums bind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """``constant + sum(coefficient * name)``; names sorted, coefficients nonzero, so that equality is identity."""

    constant: int = 0
    terms: tuple[tuple[str, int], ...] = ()

    @staticmethod
    def of(value: int | str | Size) -> Size:
        """A size from a number, the name of a dimension, or a size."""
        if isinstance(value, Size):
            return value
        return Size(value) if isinstance(value, int) else Size(0, ((value, 1),))

    @staticmethod
    def _from(constant: int, terms: Mapping[str, int]) -> Size:
        return Size(constant, tuple(sorted((n, c) for n, c in terms.items() if c)))

    @property
    def is_number(self) -> bool:
        return not self.terms

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.terms)

    def __add__(self, other: int | Size) -> Size:
        other = Size.of(other)
        terms = dict(self.terms)
        for name, coefficient in other.terms:
            terms[name] = terms.get(name, 0) + coefficient
        return Size._from(self.constant + other.constant, terms)

    def __mul__(self, factor: int) -> Size:
        return Size._from(self.constant * factor, {n: c * factor for n, c in self.terms})

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: int | Size) -> Size:
        return self + -Size.of(other)

    def substitute(self, values: Mapping[str, int | Size]) -> Size:
        """The size with some names replaced."""
        result = Size(self.constant)
        for name, coefficient in self.terms:
            result = result + Size.of(values.get(name, Size.of(name))) * coefficient
        return result

    def evaluate(self, values: Mapping[str, int]) -> int:
        """The number; raises KeyError for a name without a value."""
        return self.constant + sum(coefficient * values[name] for name, coefficient in self.terms)

    def __str__(self) -> str:
        parts: list[str] = []
        for name, coefficient in self.terms:
            factor = name if abs(coefficient) == 1 else f"{abs(coefficient)}*{name}"
            parts.append(("-" if coefficient < 0 else "+") + factor)
        if self.constant or not parts:
            parts.append(f"{self.constant:+d}")
        return "".join(parts).removeprefix("+")


Shape = tuple[Size, ...]


def shape_of(*sizes: int | str | Size) -> Shape:
    """A shape from numbers and names: ``shape_of("m", 3)``."""
    return tuple(Size.of(size) for size in sizes)


def show(shape: Shape) -> str:
    """A shape as users read it: ``(m, n)``, ``(n,)``, ``scalar``."""
    if not shape:
        return "scalar"
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def count(shape: Shape) -> Size | None:
    """Number of entries, where that is an affine expression of the dimensions; None for n*m."""
    result = Size(1)
    for size in shape:
        if result.is_number:
            result = size * result.constant
        elif size.is_number:
            result = result * size.constant
        else:
            return None
    return result
