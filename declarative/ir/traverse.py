"""Walking and rebuilding expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from declarative.ir.expression import (
    At,
    Call,
    Expression,
    ExternCall,
    Index,
    IndexRange,
    Let,
    Range,
    SizeValue,
    Subscript,
    Sum,
    Symbol,
)
from declarative.ir.shape import Size


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and everything below it, parents first."""
    yield expression
    for child in expression.children:
        yield from walk(child)


def symbols(expression: Expression) -> frozenset[str]:
    """Names of the parameters and variables that occur."""
    return frozenset(node.name for node in walk(expression) if isinstance(node, Symbol))


def free_sizes(expression: Expression) -> frozenset[str]:
    """Names of dimensions and indices that occur in subscripts, ranges and size values, less those bound inside."""
    names: set[str] = set()
    if isinstance(expression, SizeValue):
        names |= expression.size.names
    if isinstance(expression, Index):
        for subscript in expression.subscripts:
            sizes = (subscript.index,) if isinstance(subscript, At) else (subscript.first, subscript.last)
            names |= {name for size in sizes for name in size.names}
    for child in expression.children:
        names |= free_sizes(child)
    if isinstance(expression, Sum):
        for bound in reversed(expression.ranges):
            names.discard(bound.name)
            names |= bound.first.names | bound.last.names
    return frozenset(names)


def rebuild(expression: Expression, children: tuple[Expression, ...]) -> Expression:
    """The same node over other children; the node itself where they are the same objects."""
    if all(a is b for a, b in zip(expression.children, children, strict=True)):
        return expression
    match expression:
        case Call() | ExternCall():
            return replace(expression, args=children)
        case Index():
            return replace(expression, base=children[0])
        case Sum() | Let():
            return replace(expression, body=children[0])
    raise TypeError(f"{type(expression).__name__} has no children")


def transform(expression: Expression, rule: Callable[[Expression], Expression | None]) -> Expression:
    """Rebuild bottom up; ``rule`` returns a replacement or None to keep the node."""
    node = rebuild(expression, tuple(transform(child, rule) for child in expression.children))
    replacement = rule(node)
    return node if replacement is None else replacement


def substitute_sizes(expression: Expression, values: Mapping[str, int | Size]) -> Expression:
    """Replace dimensions or indices by sizes or numbers in subscripts, ranges and size values.

    Declared shapes of symbols are left alone. A name bound by an inner sum is not replaced inside it.
    """
    if isinstance(expression, Sum):
        ranges, inner = [], dict(values)
        for bound in expression.ranges:
            ranges.append(IndexRange(bound.name, bound.first.substitute(inner), bound.last.substitute(inner)))
            inner.pop(bound.name, None)
        return replace(expression, ranges=tuple(ranges), body=substitute_sizes(expression.body, inner))
    node = rebuild(expression, tuple(substitute_sizes(child, values) for child in expression.children))
    if isinstance(node, SizeValue):
        return replace(node, size=node.size.substitute(values))
    if isinstance(node, Index):
        return replace(node, subscripts=tuple(_substitute(s, values) for s in node.subscripts))
    return node


def _substitute(subscript: Subscript, values: Mapping[str, int | Size]) -> Subscript:
    if isinstance(subscript, At):
        return At(subscript.index.substitute(values))
    return Range(subscript.first.substitute(values), subscript.last.substitute(values))


def without_lets(expression: Expression) -> Expression:
    """Every use of a ``let`` replaced by what it names."""
    return transform(expression, lambda node: node.body if isinstance(node, Let) else None)
