"""Expressions and constraints in Python, with the operators of the language.

A `Term` wraps a typed expression together with the declarations it rests on. Comparisons of terms are constraints, so
terms have no truth value and cannot be compared as Python values.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn, final

from declarative.atoms import call
from declarative.builder.place import failure, here
from declarative.builder.scope import Scope, join
from declarative.builder.sizes import Dim
from declarative.builder.subscripts import subscript
from declarative.builder.wording import help_in_python
from declarative.diagnostics.diagnostic import Label
from declarative.diagnostics.span import Span
from declarative.ir.atom import AtomError
from declarative.ir.expression import Constant, Expression, Index, Let, Nested, SizeValue, Symbol
from declarative.ir.program import Constraint, Relation
from declarative.ir.shape import show as show_shape
from declarative.ir.show import show
from declarative.ir.traverse import walk

PYTHONS = (
    "Python's max, min, sorted and `if` compare: of expressions, write dl.maximum(y, 0) and dl.minimum(y, 0) entry by "
    "entry, dl.max(y) and dl.min(y) of all entries"
)


@final
class Term:
    """An expression of the language: ``+ - * / @ **``, ``.T``, subscripts, and ``== <= >=`` for constraints.

    Subscripts are Python's: from 0, negative from the end, slices without their stop; ends may be symbolic.
    """

    __array_ufunc__ = None  # numpy arrays leave operations with terms to the terms
    __hash__ = object.__hash__

    def __init__(self, expression: Expression, scope: Scope, *, is_row: bool = False) -> None:
        self.expression, self.scope, self.is_row = expression, scope, is_row

    def __repr__(self) -> str:
        return f"{show(self.expression)}: {show_shape(self.expression.shape)}"

    def __add__(self, other: Any) -> Term:
        return apply("add", self, other)

    def __radd__(self, other: Any) -> Term:
        return apply("add", other, self)

    def __sub__(self, other: Any) -> Term:
        return apply("add", self, apply("neg", other))

    def __rsub__(self, other: Any) -> Term:
        return apply("add", other, apply("neg", self))

    def __mul__(self, other: Any) -> Term:
        return apply("mul", self, other)

    def __rmul__(self, other: Any) -> Term:
        return apply("mul", other, self)

    def __truediv__(self, other: Any) -> Term:
        return apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Term:
        return apply("div", other, self)

    def __matmul__(self, other: Any) -> Term:
        return _product(self, as_term(other))

    def __rmatmul__(self, other: Any) -> Term:
        return _product(as_term(other), self)

    def __pow__(self, other: Any) -> Term:
        return apply("power", self, other)

    def __neg__(self) -> Term:
        return apply("neg", self)

    def __getitem__(self, key: Any) -> Term:
        keys = key if isinstance(key, tuple) else (key,)
        if len(keys) > self.expression.rank:
            what = {0: "a scalar has no entries to index", 1: f"a vector takes one subscript, not {len(keys)}"}
            raise failure("E209", what.get(self.expression.rank, f"a matrix takes two subscripts, not {len(keys)}"))
        found = [subscript(k, size) for k, size in zip(keys, self.expression.shape, strict=False)]
        index = Index(self.expression, tuple(s for s, _ in found), at=here())
        return Term(index, join(self.scope, *(scope for _, scope in found)))

    @property
    def T(self) -> Term:  # noqa: N802
        """The transpose; of a vector the vector itself."""
        if self.expression.rank < 2:
            return Term(self.expression, self.scope, is_row=self.expression.rank == 1)
        return apply("transpose", self)

    @property
    def shape(self) -> tuple[str, ...]:
        """The sizes as text, for looking at."""
        return tuple(map(str, self.expression.shape))

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return relation("==", self, other)

    def __le__(self, other: Any) -> Condition:
        return relation("<=", self, other)

    def __ge__(self, other: Any) -> Condition:
        return relation(">=", self, other)

    def __ne__(self, other: object) -> NoReturn:
        why = "`!=` is not a constraint that a solver can keep: it leaves the feasible set open"
        raise failure("E105", "`!=` is not a relation of the language", notes=(why,))

    def __lt__(self, other: Any) -> NoReturn:
        _refuse_strict("<")

    def __gt__(self, other: Any) -> NoReturn:
        _refuse_strict(">")

    def __bool__(self) -> NoReturn:
        raise failure("E212", "an expression has no truth value before it is solved for", notes=(PYTHONS,))

    def __abs__(self) -> NoReturn:
        raise failure("E212", "Python's `abs` does not make an expression", help="dl.abs(x)")

    def __iter__(self) -> NoReturn:
        raise failure(
            "E212",
            "an expression is not looped over by Python",
            help="dl.sum(x) for the sum of all entries; dl.total(lambda t: ..., t=(a, b)) for another",
        )


@final
class Condition:
    """A constraint: ``sum(y) == 1``, ``x[t] <= cap``; `between`, `in_psd` and `forall` make the others."""

    def __init__(self, constraint: Constraint, scope: Scope) -> None:
        self.constraint, self.scope = constraint, scope

    def __bool__(self) -> NoReturn:
        raise failure(
            "E110",
            "a constraint has no truth value in Python, and a chain of comparisons keeps only one of its constraints",
            at=self.constraint.at,
            help="for a chain, dl.between(low, x, high); else hand the constraint to .subject_to(...)",
        )


def relation(kind: Relation, *terms: Any) -> Condition:
    """A constraint between terms, as it stands."""
    found = [as_term(term) for term in terms]
    constraint = Constraint(None, kind, tuple(term.expression for term in found), at=here())
    return Condition(constraint, join(*(term.scope for term in found)))


def as_term(value: Any) -> Term:
    """A term from a term, a size, a number, or nested lists, an array or a tensor of numbers."""
    if isinstance(value, Term):
        return value
    if isinstance(value, Dim):
        return Term(SizeValue(value.size, at=here()), value.scope)
    if isinstance(value, Condition):
        raise failure("E212", "a constraint stands where an expression is needed")
    from declarative.builder.declare import Extern

    if isinstance(value, Extern):
        raise failure("E212", "an extern stands where an expression is needed", help=value.call_text)
    return Term(Constant(as_nested(value), at=here()), {})


def as_nested(value: Any) -> Nested:
    """Numbers as nested tuples of floats; raises for what is not a number, a vector or a matrix of numbers."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, int | float) and not isinstance(plain, bool) and not math.isnan(plain):
        return float(plain)
    if isinstance(plain, list | tuple) and plain:
        items = tuple(as_nested(item) for item in plain)
        lengths = {len(item) if isinstance(item, tuple) else 0 for item in items}
        deep = any(isinstance(item, tuple) and isinstance(item[0], tuple) for item in items)
        if len(lengths) > 1 or deep:
            problem = "is nested more than two deep" if deep else "has rows of different lengths"
            raise failure("E211", f"the list of numbers {problem}")
        return items
    raise failure("E211", f"`{value!r}` is neither an expression nor a number")


def apply(name: str, *values: Any) -> Term:
    """A function of the language applied; raises where the arguments do not fit."""
    terms = [as_term(value) for value in values]
    scope = join(*(term.scope for term in terms))
    at = here()
    try:
        return Term(call(name, *(term.expression for term in terms), at=at), scope)
    except AtomError as error:
        culprits = terms if error.argument is None else [terms[error.argument]]
        raise failure(
            "E203",
            error.message,
            at=_place(culprits, error, at),
            label=error.label,
            secondary=_declared([term.expression for term in culprits], scope),
            help=help_in_python(error.help),
        ) from None


def _place(culprits: list[Term], error: AtomError, whole: Span | None) -> Span | None:
    """The argument at fault if it was written within the call, else the call: a symbol's span is its declaration."""
    inner = culprits[0].expression.span if culprits else None
    if error.argument is None or inner is None or whole is None:
        return whole
    inside = inner.source == whole.source and whole.start <= inner.start and inner.end <= whole.end
    return inner if inside else whole


def _declared(expressions: list[Expression], scope: Scope) -> tuple[Label, ...]:
    """Labels at the declarations of the names in the arguments, each saying its shape."""
    labels: dict[str, Label] = {}
    for expression in expressions:
        for node in walk(expression):
            if isinstance(node, Symbol | Let) and len(labels) < 3:
                at = scope[node.name].at
                if at is not None:
                    labels[node.name] = Label(at, f"{node.name} is {show_shape(node.shape)}")
    return tuple(labels.values())


def _product(left: Term, right: Term) -> Term:
    if right.is_row and left.expression.rank == 1:
        raise failure(
            "E203",
            "`@` of two vectors is their inner product, and `.T` of a vector is the vector itself",
            help=f"for the matrix of all products: dl.outer({show(left.expression)}, {show(right.expression)})",
        )
    return apply("matmul", left, right)


def _refuse_strict(sign: str) -> NoReturn:
    why = "a strict inequality has no meaning for a solver, whose solutions may lie on the boundary"
    help = f"for a constraint write `{sign}=`"
    raise failure("E105", f"`{sign}` is not a relation of the language", notes=(why, PYTHONS), help=help)
