"""What a function of the language must say of itself. The functions are in `declarative.atoms`, one a file.

Every method receives the argument expressions, whose ``shape``, ``sign`` and ``curvature`` are known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.shape import Shape

if TYPE_CHECKING:
    from declarative.ir.expression import Expression

Level = Literal["sum", "product", "function", "atom"]
"""What an operator may do with LaTeX text: ``a + b`` needs parentheses in a product, ``a b`` under an exponent and
``f(a)`` too, an atom nowhere."""


class AtomError(Exception):
    """The arguments do not fit. The front ends turn it into a diagnostic at the call.

    ``argument`` is the position of the argument to point at (None: the whole call); ``label`` the words under it;
    ``help`` the text to write instead.
    """

    def __init__(self, message: str, *, argument: int | None = None, label: str = "", help: str | None = None) -> None:
        super().__init__(message)
        self.message, self.argument, self.label, self.help = message, argument, label, help


@dataclass(frozen=True)
class Operand:
    """An argument as torch source. ``str(operand)`` is safe next to any operator and before a method call.

    The text evaluates to a tensor (*batch, *shape), or to a Python number if ``is_number``.
    """

    text: str
    shape: Shape
    is_atomic: bool = True
    is_number: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def axes(self) -> str:
        """All instance dimensions, for a reduction: ``-1`` of a vector, ``(-2, -1)`` of a matrix."""
        return "-1" if self.rank == 1 else f"({', '.join(str(i) for i in range(-self.rank, 0))})"

    def __str__(self) -> str:
        return self.text if self.is_atomic else f"({self.text})"

    def lifted(self, rank: int) -> str:
        """The operand with trailing dimensions of size one added, so that a scalar meets a tensor of this rank."""
        if self.is_number or self.rank or not rank:
            return str(self)
        return f"{self}[..., {', '.join(['None'] * rank)}]"


class Atom(ABC):
    """A function of the language."""

    name: str
    """As written in programs."""
    doc: str
    """One sentence, for the reference."""
    formula: str
    """What it computes, in mathematics as plain text, e.g. ``sum_i |x_i|``."""
    latex: str = ""
    """How papers write it, as a template for `declarative.ir.latex`: ``#1`` is the first argument where brackets
    enclose it, ``@1`` where it is an operand, in parentheses if need be, ``#*`` are all arguments. Empty: the name."""
    latex_level: Level = "function"
    """How tightly what the template writes holds together."""
    arguments: tuple[str, ...]
    """Names of the arguments, for messages and the reference."""
    optional: int = 0
    """How many of the last arguments may be left out."""
    variadic: bool = False
    """Whether the last argument may be repeated."""
    domain: tuple[str, ...] = ()
    """Where each argument lies, by argument (of a variadic atom the last is repeated): ``any``, ``nonneg``,
    ``positive``, ``psd``, ``number`` (a constant scalar), ``positive number``, ``size``. Empty: anywhere."""
    smooth: bool = True
    """Twice continuously differentiable on the interior of its domain."""
    parameters_only: bool = False
    """Allowed only where no variable occurs inside (``inv``, ``cholesky``, ``det``)."""
    local_only: bool = False
    """Allowed only under ``minimize locally`` and ``solve``, or of parameters alone (``tanh``, ``sin``)."""

    @abstractmethod
    def shape(self, *args: Expression) -> Shape:
        """Shape of the value; raises `AtomError` where the arguments do not fit."""

    @abstractmethod
    def sign(self, *args: Expression) -> Sign: ...

    @abstractmethod
    def intrinsic(self, *args: Expression) -> Curvature:
        """Curvature of the function itself, as though its non-constant arguments were variables."""

    @abstractmethod
    def monotonicity(self, *args: Expression) -> tuple[Monotonicity, ...]:
        """One entry per argument, for the signs that the arguments have."""

    @abstractmethod
    def torch(self, *args: Operand) -> str:
        """Batched torch source of the value: arguments (*batch, *shape), result (*batch, *result shape).

        The text must be atomic (a call, a method call or in parentheses). Its names are ``torch`` and ``functions``,
        which is `declarative.runtime.functions`. At least one operand is a tensor.
        """

    def has_edge(self, *args: Expression) -> bool:
        """Whether it ends at zero, where it is finite and its slope need not be, like ``sqrt``."""
        return False

    def torch_at_edge(self, *args: Operand) -> str:
        """The same, with a finite slope on that edge, and a value where rounding leads a little beyond it."""
        return self.torch(*args)

    @abstractmethod
    def to_cvxpy(self, cp: Any, *args: Any) -> Any:
        """The same in cvxpy, which is handed in as ``cp``."""

    def latex_of(self, *args: Expression) -> str:
        """The template where it depends on the arguments' shapes."""
        name = self.name.replace("_", r"\_")
        return self.latex or rf"\operatorname{{{name}}}(#*)"

    def is_psd(self, *args: Expression) -> bool:
        """Whether the value is a positive semidefinite matrix whatever the data."""
        return False

    def expand(self, *args: Expression) -> Expression | None:
        """In simpler functions: ``norm1(x)`` is ``sum(abs(x))``, ``x @ x`` is ``sum_squares(x)``; None: basic."""
        return None

    def pieces(self, *args: Expression) -> tuple[Expression, ...] | None:
        """Affine-preserving expressions whose pointwise maximum is the value: ``abs(x)`` is the maximum of x and -x.

        Each is a scalar or of the value's shape, or of any shape if the value is a scalar (the maximum over all entries
        then).
        A concave function gives pieces whose minimum it is.
        """
        return None

    def infimum(self, fresh: Expression, *args: Expression) -> Expression | None:
        """An expression whose minimum over ``fresh`` (a variable of the value's shape) is the value, entry by entry."""
        return None
