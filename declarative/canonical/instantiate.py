"""A program at fixed sizes: dimensions become numbers, sums and indexed constraints are unrolled.

A chained constraint becomes its relations: ``lo <= x <= hi`` is ``lo <= x`` (lower) and ``x <= hi`` (upper), and its
one dual is that of the upper less that of the lower.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeVar

from declarative.atoms import ATOMS
from declarative.canonical.sizes import check_bounds, resolve_sizes
from declarative.canonical.unrolled import refuse_many_terms
from declarative.ir.expression import (
    At,
    Call,
    Constant,
    Expression,
    ExternCall,
    Index,
    IndexRange,
    Let,
    Nested,
    Parameter,
    Range,
    SizeValue,
    Subscript,
    Sum,
    Symbol,
    Variable,
)
from declarative.ir.program import Constraint, Program
from declarative.ir.shape import Shape, Size

Kind = Literal["equal", "upper", "lower", "psd"]
S = TypeVar("S", bound=Symbol)


@dataclass(frozen=True)
class Relation:
    """``left == right``, ``left <= right`` (upper, lower) or ``left in psd`` (right is None).

    It belongs to the ``instance``-th index of the program's constraint ``constraint``.
    """

    constraint: int
    instance: int
    kind: Kind
    left: Expression
    right: Expression | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the dual."""
        sides = (self.left,) if self.right is None else (self.left, self.right)
        return max((numbers(side.shape) for side in sides), key=len)


@dataclass(frozen=True)
class Instance:
    """A program at fixed sizes. ``objective`` is as written.

    ``dual_shapes`` has, for each constraint, the lengths of its indices and the shape of the dual of one instance.
    """

    parameters: tuple[Parameter, ...]
    variables: tuple[Variable, ...]
    objective: Expression
    relations: tuple[Relation, ...]
    dual_shapes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def instantiate(program: Program, sizes: Mapping[str, int]) -> Instance:
    """The program at these sizes of its dimensions; those with a default may be left out.

    Raises `DiagnosticError` for a size that is missing, unknown or out of range. The objective must not be ``solve``.
    """
    values = resolve_sizes(program, sizes)
    refuse_many_terms(program, values)
    if program.objective.expression is None:
        raise ValueError(f"`{program.name}` has no objective")
    relations: list[Relation] = []
    dual_shapes = []
    for position, constraint in enumerate(program.constraints):
        dual_shapes.append(_dual_shape(constraint, values))
        for instance, bound in enumerate(_bindings(constraint.indices, values)):
            relations += _relations(position, instance, constraint, bound)
    return Instance(
        tuple(_sized(parameter, values) for parameter in program.parameters),
        tuple(_sized(variable, values) for variable in program.variables),
        at_sizes(program.objective.expression, values),
        tuple(relations),
        tuple(dual_shapes),
    )


def numbers(shape: Shape) -> tuple[int, ...]:
    """A shape that has no names left."""
    return tuple(size.evaluate({}) for size in shape)


def at_sizes(expression: Expression, values: Mapping[str, int]) -> Expression:
    """The expression with every dimension and index a number, and every ``sum(E for ...)`` written out."""
    match expression:
        case SizeValue(size=size):
            return replace(expression, size=Size(size.evaluate(values)))
        case Symbol():
            return _sized(expression, values)
        case Index(base=base, subscripts=subscripts):
            inner = at_sizes(base, values)
            fixed = tuple(_subscript(subscript, values) for subscript in subscripts)
            check_bounds(inner.shape, fixed, expression.span)
            return replace(expression, base=inner, subscripts=fixed)
        case Sum(body=body, ranges=ranges):
            terms = [at_sizes(body, bound) for bound in _bindings(ranges, values)]
            return _total(terms, tuple(size.substitute(values) for size in expression.shape))
        case Let(body=body):
            return replace(expression, body=at_sizes(body, values))
        case Call(args=args):
            return replace(expression, args=tuple(at_sizes(arg, values) for arg in args))
        case ExternCall(extern=extern, args=args):
            name, shape = extern.output
            fixed_extern = replace(extern, output=(name, tuple(Size(size.evaluate(values)) for size in shape)))
            return replace(expression, extern=fixed_extern, args=tuple(at_sizes(arg, values) for arg in args))
    return expression


def _relations(position: int, instance: int, constraint: Constraint, values: Mapping[str, int]) -> Iterator[Relation]:
    terms = [at_sizes(term, values) for term in constraint.terms]
    if constraint.relation == "psd":
        yield Relation(position, instance, "psd", terms[0])
        return
    if constraint.relation == ">=":
        terms.reverse()
    for place, (left, right) in enumerate(pairwise(terms)):
        is_lower = len(terms) == 3 and place == 0
        kind: Kind = "equal" if constraint.relation == "==" else "lower" if is_lower else "upper"
        yield Relation(position, instance, kind, left, right)


def _dual_shape(constraint: Constraint, values: Mapping[str, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Lengths of the ranges, which are the leading dimensions of the dual, and the shape of one instance's."""
    lengths = tuple(max(0, index.length.evaluate(values)) for index in constraint.indices)
    widest = max((term.shape for term in constraint.terms), key=len)
    return lengths, tuple(size.evaluate(values) for size in widest)


def _bindings(ranges: tuple[IndexRange, ...], values: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Every assignment of numbers to the indices, the last one fastest, each with ``values``."""
    if not ranges:
        yield dict(values)
        return
    first, *rest = ranges
    for number in range(first.first.evaluate(values), first.last.evaluate(values) + 1):
        yield from _bindings(tuple(rest), {**values, first.name: number})


def _sized(symbol: S, values: Mapping[str, int]) -> S:
    return replace(symbol, declared=tuple(Size(size.evaluate(values)) for size in symbol.declared))


def _subscript(subscript: Subscript, values: Mapping[str, int]) -> Subscript:
    if isinstance(subscript, At):
        return At(Size(subscript.index.evaluate(values)))
    return Range(Size(subscript.first.evaluate(values)), Size(subscript.last.evaluate(values)))


def _total(terms: list[Expression], shape: Shape) -> Expression:
    """The sum as a balanced tree, so that long sums do not nest deep."""
    if not terms:
        return Constant(_zeros(numbers(shape)))
    while len(terms) > 1:
        pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
        terms = [Call(ATOMS["add"], tuple(pair)) if len(pair) == 2 else pair[0] for pair in pairs]
    return terms[0]


def _zeros(shape: tuple[int, ...]) -> Nested:
    return tuple(_zeros(shape[1:]) for _ in range(shape[0])) if shape else 0.0
