"""Typed expressions: immutable trees whose nodes know their shape, sign and curvature.

Equality is structural and ignores spans, so two spellings at two places are one expression.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from declarative.diagnostics.span import Span
from declarative.ir.atom import Atom
from declarative.ir.curvature import Curvature, Monotonicity, Sign, compose
from declarative.ir.shape import Shape, Size

Nested = float | tuple["Nested", ...]
Binding = Literal["call", "learned", "constant"]
ATTRIBUTES = ("nonneg", "nonpos", "psd", "nsd", "symmetric", "diag")


@dataclass(frozen=True)
class Expression(ABC):
    """A node. ``span`` is where it was written, None for what the compiler made."""

    @property
    @abstractmethod
    def shape(self) -> Shape: ...

    @property
    def sign(self) -> Sign:
        return Sign.UNKNOWN

    @property
    @abstractmethod
    def curvature(self) -> Curvature: ...

    @property
    def children(self) -> tuple[Expression, ...]:
        return ()

    @property
    def span(self) -> Span | None:
        return getattr(self, "at", None)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_constant(self) -> bool:
        """Whether no variable occurs in it."""
        return self.curvature is Curvature.CONSTANT


@dataclass(frozen=True)
class Constant(Expression):
    """A number, or a vector or matrix of numbers written out."""

    value: Nested
    at: Span | None = field(default=None, compare=False, repr=False)

    @cached_property
    def shape(self) -> Shape:
        sizes: list[Size] = []
        value = self.value
        while isinstance(value, tuple):
            sizes.append(Size(len(value)))
            value = value[0] if value else 0.0
        return tuple(sizes)

    @cached_property
    def sign(self) -> Sign:
        signs = {Sign.of(v) for v in flat(self.value)} - {Sign.ZERO}
        return Sign.ZERO if not signs else signs.pop() if len(signs) == 1 else Sign.UNKNOWN

    @property
    def curvature(self) -> Curvature:
        return Curvature.CONSTANT


@dataclass(frozen=True)
class SizeValue(Expression):
    """A dimension or an index used as a number: ``1/n``, ``t * x``."""

    size: Size
    at: Span | None = field(default=None, compare=False, repr=False)

    @property
    def shape(self) -> Shape:
        return ()

    @property
    def sign(self) -> Sign:
        positive = self.size.constant >= 0 and all(c >= 0 for _, c in self.size.terms)
        return Sign.NONNEG if positive else Sign.UNKNOWN

    @property
    def curvature(self) -> Curvature:
        return Curvature.CONSTANT


@dataclass(frozen=True)
class Symbol(Expression):
    """Base of parameters and variables: a declared name with a shape and attributes."""

    name: str
    declared: Shape
    attributes: frozenset[str] = frozenset()
    doc: str | None = field(default=None, compare=False)
    at: Span | None = field(default=None, compare=False, repr=False)

    @property
    def shape(self) -> Shape:
        return self.declared

    @property
    def sign(self) -> Sign:
        if "nonneg" in self.attributes:
            return Sign.ZERO if "nonpos" in self.attributes else Sign.NONNEG
        return Sign.NONPOS if "nonpos" in self.attributes else Sign.UNKNOWN


@dataclass(frozen=True)
class Parameter(Symbol):
    """Data of the problem. ``value`` is set for a ``constant`` given inline."""

    binding: Binding = "call"
    value: Nested | None = None

    @property
    def sign(self) -> Sign:
        declared = super().sign
        return Constant(self.value).sign if declared is Sign.UNKNOWN and self.value is not None else declared

    @property
    def curvature(self) -> Curvature:
        return Curvature.CONSTANT


@dataclass(frozen=True)
class Variable(Symbol):
    """What is solved for. The starting point, if any, is in the program, since it may use parameters."""

    @property
    def curvature(self) -> Curvature:
        return Curvature.AFFINE


@dataclass(frozen=True)
class Call(Expression):
    """A function of the language, or an operator, applied. Raises `AtomError` where the arguments do not fit."""

    atom: Atom
    args: tuple[Expression, ...]
    at: Span | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.shape  # noqa: B018  (a misfit must show where the call is made)

    @cached_property
    def shape(self) -> Shape:
        return self.atom.shape(*self.args)

    @cached_property
    def sign(self) -> Sign:
        return self.atom.sign(*self.args)

    @cached_property
    def curvature(self) -> Curvature:
        inner = [a.curvature for a in self.args]
        if all(c is Curvature.CONSTANT for c in inner):
            return Curvature.CONSTANT
        found = compose(self.atom.intrinsic(*self.args), self.atom.monotonicity(*self.args), inner)
        # A function of what has no curvature may have one, as trace(A' @ A).
        expanded = self.atom.expand(*self.args) if found is Curvature.UNKNOWN else None
        return found if expanded is None else expanded.curvature

    @property
    def children(self) -> tuple[Expression, ...]:
        return self.args

    @cached_property
    def _hash(self) -> int:
        return hash((self.atom.name, self.args))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True)
class At:
    """One index of a subscript: an affine expression of dimensions and bound indices."""

    index: Size


@dataclass(frozen=True)
class Range:
    """``first..last`` in a subscript, both ends included."""

    first: Size
    last: Size

    @property
    def length(self) -> Size:
        return self.last - self.first + 1


Subscript = At | Range


@dataclass(frozen=True)
class Index(Expression):
    """``base[i, a..b]``: one subscript per leading dimension; the rest is taken whole."""

    base: Expression
    subscripts: tuple[Subscript, ...]
    at: Span | None = field(default=None, compare=False, repr=False)

    @cached_property
    def shape(self) -> Shape:
        kept = tuple(s.length for s in self.subscripts if isinstance(s, Range))
        return kept + self.base.shape[len(self.subscripts) :]

    @property
    def sign(self) -> Sign:
        return self.base.sign

    @property
    def curvature(self) -> Curvature:
        return self.base.curvature

    @property
    def children(self) -> tuple[Expression, ...]:
        return (self.base,)


@dataclass(frozen=True)
class IndexRange:
    """``t in first..last``, both ends included."""

    name: str
    first: Size
    last: Size

    @property
    def length(self) -> Size:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Sum(Expression):
    """``sum(body for t in a..b, ...)``."""

    body: Expression
    ranges: tuple[IndexRange, ...]
    at: Span | None = field(default=None, compare=False, repr=False)

    @property
    def shape(self) -> Shape:
        return self.body.shape

    @property
    def sign(self) -> Sign:
        return self.body.sign

    @cached_property
    def curvature(self) -> Curvature:
        return compose(Curvature.AFFINE, (Monotonicity.INCREASING,), (self.body.curvature,))

    @property
    def children(self) -> tuple[Expression, ...]:
        return (self.body,)


@dataclass(frozen=True)
class Let(Expression):
    """A use of ``let name = body``; transparent to analysis, kept so that emitted code can name it."""

    name: str
    body: Expression
    at: Span | None = field(default=None, compare=False, repr=False)

    @property
    def shape(self) -> Shape:
        return self.body.shape

    @property
    def sign(self) -> Sign:
        return self.body.sign

    @property
    def curvature(self) -> Curvature:
        return self.body.curvature

    @property
    def children(self) -> tuple[Expression, ...]:
        return (self.body,)


@dataclass(frozen=True)
class Extern:
    """A torch module given to the constructor: ``extern f(z[k]) -> y[d] smooth``."""

    name: str
    inputs: tuple[tuple[str, Shape], ...]
    output: tuple[str, Shape]
    smooth: bool = False
    doc: str | None = field(default=None, compare=False)
    at: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class ExternCall(Expression):
    """An extern applied. Nothing is known of its sign or curvature."""

    extern: Extern
    args: tuple[Expression, ...]
    at: Span | None = field(default=None, compare=False, repr=False)

    @property
    def shape(self) -> Shape:
        return self.extern.output[1]

    @cached_property
    def curvature(self) -> Curvature:
        constant = all(a.is_constant for a in self.args)
        return Curvature.CONSTANT if constant else Curvature.UNKNOWN

    @property
    def children(self) -> tuple[Expression, ...]:
        return self.args


def flat(value: Nested) -> Iterator[float]:
    """The numbers of a nested tuple, row by row."""
    if isinstance(value, tuple):
        for item in value:
            yield from flat(item)
    else:
        yield value
