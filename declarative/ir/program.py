"""A program: what both front ends produce and every later stage reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from declarative.diagnostics.span import Source, Span
from declarative.ir.expression import Expression, Extern, IndexRange, Let, Parameter, Variable

OPTIONS = ("on_failure", "check_inputs", "tolerance", "max_iterations")
"""What ``option`` may set: the settings of an emitted layer."""

Relation = Literal["<=", ">=", "==", "psd"]
Sense = Literal["minimize", "maximize", "solve"]


@dataclass(frozen=True)
class Dimension:
    """``dim n`` or ``dim T = 20``."""

    name: str
    default: int | None = None
    at: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Objective:
    """``minimize``, ``maximize`` (``local`` for their ``locally`` forms) or ``solve``, which has no expression."""

    sense: Sense
    local: bool = False
    expression: Expression | None = None
    at: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Constraint:
    """``name: a REL b`` or ``a REL b REL c``; ``terms`` as written. ``X in psd`` has one term.

    ``indices`` are the ranges of ``for t in a..b, ...``: it holds for each of them, and its dual has them first.
    """

    name: str | None
    relation: Relation
    terms: tuple[Expression, ...]
    indices: tuple[IndexRange, ...] = ()
    at: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Dual:
    """``dual(name)`` in an output."""

    constraint: str


@dataclass(frozen=True)
class OptimalValue:
    """``value`` in an output: the objective at the solution, in the sense it was written."""


@dataclass(frozen=True)
class Output:
    """A field of the layer's result."""

    name: str
    value: Expression | Dual | OptimalValue
    at: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Program:
    """One layer. Everything in order of declaration; ``starts`` holds ``var x from E``; ``outputs`` is never empty."""

    name: str
    doc: str | None
    dimensions: tuple[Dimension, ...]
    parameters: tuple[Parameter, ...]
    variables: tuple[Variable, ...]
    starts: tuple[tuple[str, Expression], ...]
    lets: tuple[Let, ...]
    externs: tuple[Extern, ...]
    objective: Objective
    constraints: tuple[Constraint, ...]
    outputs: tuple[Output, ...]
    options: tuple[tuple[str, float | str | bool], ...] = ()
    source: Source | None = field(default=None, compare=False, repr=False)
    option_places: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)

    def constraint_name(self, position: int) -> str:
        """The constraint's name, or ``c0``, ``c1``, ... for one without."""
        return self.constraints[position].name or f"c{position}"
