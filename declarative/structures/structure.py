"""What a structure is: a class of problems that has a better way of being solved than the classes above it.

`recognise` looks at the canonical forms, never at spelling, and says why where it declines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import NormalForm
from declarative.canonical.quadratic import QuadraticForm
from declarative.canonical.separable import SeparableForm
from declarative.ir.expression import Expression
from declarative.ir.program import Program
from declarative.ir.shape import Shape

Show = Callable[[Expression], str]
"""Prints an expression of parameters as torch source."""


@dataclass(frozen=True)
class Canonical:
    """The forms of a program that recognition reads. ``normal`` is None for local problems and systems of equations."""

    program: Program
    normal: NormalForm | None
    quadratic: QuadraticForm | Mismatch
    separable: SeparableForm | Mismatch


@dataclass(frozen=True)
class ClosedForm:
    """The body of ``solution`` in an emitted module.

    ``lines`` are torch statements after which the names in ``point`` (the variable, then the duals) hold the solution.
    ``duals`` maps the program's constraints to torch source in terms of ``point.x``, ``point.eq``, ..., or to ``psd``
    for that part as a matrix (a match that is ``stated_as`` a quadratic program leaves them to it); ``fields`` are the
    fields of the point in the order of ``point``. ``primal`` are statements that return the variable alone,
    where that is cheaper, and a smaller tensor that is finite only where the variable and the symbols ``primal_reads``
    are. ``uses`` names the runtime functions in the text.
    """

    doc: str
    lines: tuple[str, ...]
    point: tuple[str, ...]
    fields: tuple[str, ...]
    duals: dict[str, str] = field(default_factory=dict)
    primal: tuple[str, ...] = ()
    primal_reads: frozenset[str] = frozenset()
    uses: tuple[str, ...] = ("torch",)


@dataclass(frozen=True)
class ProblemSource:
    """The body of ``data`` in the emitted module of a closed form: the problem that the solution solves.

    ``solve`` and ``diagnose`` read the KKT residual and the conditions off it; the forward pass does not touch it.
    ``lines`` are torch statements, the last of which returns a ``kind``, a class of the runtime. ``rows`` names the
    constraints: (name, part of the point, shape). ``uses`` as in `ClosedForm`.
    """

    kind: str
    lines: tuple[str, ...]
    rows: tuple[tuple[str, str, Shape], ...]
    uses: tuple[str, ...] = ()


class Match(ABC):
    """A program that has a structure, with what code generation needs of it."""

    structure: str
    """The structure's name."""
    local_names: ClassVar[frozenset[str]] = frozenset()
    """Names that the statements below assign, which no parameter or variable may have."""

    @abstractmethod
    def summary(self, show: Show) -> str:
        """One line for people: which solution, in terms of the parameters."""

    def closed_form(self, show: Show) -> ClosedForm | None:
        """The torch statements of the solution, where it has a closed form."""
        return None

    def derivative(self, show: Show) -> tuple[str, ...]:
        """What the backward pass computes, in mathematics as plain text, a line each; w_bar is the cotangent of w."""
        return ("autograd through the statements of the closed form",)

    def problem(self, show: Show) -> ProblemSource | None:
        """The problem that a closed form solves, where neither `stated_as` nor `stated_locally` tells it."""
        return None

    @property
    def stated_as(self) -> QuadraticForm | None:
        """The quadratic program that a closed form solves, where its point is one of that program's."""
        return None

    @property
    def stated_locally(self) -> bool:
        """Whether the point of a closed form is one of the program's smooth functions, as they are written."""
        return False


class Structure(ABC):
    """One entry of the registry."""

    name: str
    doc: str
    """One sentence: what is recognised and how it is solved."""

    @abstractmethod
    def recognise(self, canonical: Canonical) -> Match | Mismatch:
        """The match, or why there is none."""
