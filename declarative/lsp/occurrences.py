"""Every name in a syntax tree: where it stands, what kind of thing it means, and where it is declared.

Symbols, constraints, outputs and options have names of their own kinds; an index is known only inside the constraint or
sum that binds it, so its occurrences carry that stretch of text as their scope.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from declarative.diagnostics.span import Span
from declarative.frontend import syntax
from declarative.frontend.scope import FUNCTIONS

Kind = Literal[
    "layer", "dim", "param", "var", "let", "extern", "port", "index", "constraint", "output", "option", "attribute",
    "cone", "atom", "word", "unknown",
]  # fmt: skip

RENAMABLE = ("layer", "dim", "param", "var", "let", "extern", "port", "index", "constraint", "output")
"""Kinds that a program names itself; the others are the language's."""


@dataclass(frozen=True)
class Occurrence:
    """A name at a place. ``scope``: where an index is known (None: in the whole file)."""

    name: str
    span: Span
    kind: Kind
    declares: bool = False
    scope: Span | None = None

    def means_the_same(self, other: Occurrence) -> bool:
        """Whether both are one thing, so that they are renamed together."""
        if self.kind in ("output", "port", "layer"):
            return self is other
        return (self.name, self.kind, self.scope) == (other.name, other.kind, other.scope)


Indices = Mapping[str, Span]
"""The indices in scope, each with the stretch that it is known in."""


def occurrences(file: syntax.File) -> tuple[Occurrence, ...]:
    """Every name of a file, in order of place."""
    walker = _Walker(_declared(file))
    found = [o for statement in file.statements for o in walker.statement(statement)]
    return tuple(sorted(found, key=lambda o: o.span.start))


def _declared(file: syntax.File) -> dict[str, Kind]:
    """The kind of every name that expressions may use."""
    kinds: dict[str, Kind] = {}
    for node in file.statements:
        match node:
            case syntax.DimensionDeclaration(items=items):
                kinds.update((item.name.text, "dim") for item in items)
            case syntax.SymbolDeclaration(kind=kind, name=name):
                kinds[name.text] = "param" if kind == "param" else "var"
            case syntax.LetDeclaration(name=name):
                kinds[name.text] = "let"
            case syntax.ExternDeclaration(name=name):
                kinds[name.text] = "extern"
    return kinds


@dataclass(frozen=True)
class _Walker:
    kinds: Mapping[str, Kind]

    def statement(self, node: syntax.Statement) -> Iterator[Occurrence]:
        match node:
            case syntax.LayerHead(name=name):
                yield Occurrence(name.text, name.span, "layer", True)
            case syntax.DimensionDeclaration(items=items):
                yield from (Occurrence(item.name.text, item.name.span, "dim", True) for item in items)
            case syntax.SymbolDeclaration():
                yield Occurrence(node.name.text, node.name.span, self.kinds[node.name.text], True)
                yield from (Occurrence(a.text, a.span, "attribute") for a in node.attributes)
                yield from self.expressions((*node.shape, *node.starts, *node.values), {})
            case syntax.LetDeclaration(name=name, value=value):
                yield Occurrence(name.text, name.span, "let", True)
                yield from self.expressions((value,), {})
            case syntax.ExternDeclaration():
                yield Occurrence(node.name.text, node.name.span, "extern", True)
                for port in (*node.inputs, node.output):
                    yield Occurrence(port.name.text, port.name.span, "port", True)
                    yield from self.expressions(port.shape, {})
                yield from (Occurrence(a.text, a.span, "attribute") for a in node.attributes)
            case syntax.ObjectiveStatement(expression=expression) if expression is not None:
                yield from self.expressions((expression,), {})
            case syntax.ConstraintStatement():
                yield from self.constraint(node)
            case syntax.OutputStatement(items=outputs):
                for output in outputs:
                    yield from self.output(output)
            case syntax.OptionStatement(name=name):
                yield Occurrence(name.text, name.span, "option")

    def constraint(self, node: syntax.ConstraintStatement) -> Iterator[Occurrence]:
        if node.name is not None:
            yield Occurrence(node.name.text, node.name.span, "constraint", True)
        indices = {b.index.text: node.span for b in node.bindings}
        yield from self.expressions(node.terms, indices)
        yield from self.bindings(node.bindings, indices)
        if node.cone is not None:
            yield Occurrence(node.cone.text, node.cone.span, "cone")

    def output(self, node: syntax.OutputItem) -> Iterator[Occurrence]:
        match node.value:
            case syntax.Application(function=function, arguments=(syntax.Name(span, text),)) if function.text == "dual":
                yield Occurrence("dual", function.span, "word")
                yield Occurrence(text, span, "constraint")
            case syntax.Name(span, "value"):
                yield Occurrence("value", span, "word")
            case value:
                yield from self.expressions((value,), {})
        if node.name is not None:
            yield Occurrence(node.name.text, node.name.span, "output", True)

    def bindings(self, nodes: tuple[syntax.Binding, ...], indices: Indices) -> Iterator[Occurrence]:
        for binding in nodes:
            scope = indices[binding.index.text]
            yield Occurrence(binding.index.text, binding.index.span, "index", True, scope)
            yield from self.expressions((binding.first, binding.last), indices)

    def expressions(self, nodes: tuple[syntax.Node, ...], indices: Indices) -> Iterator[Occurrence]:
        for node in nodes:
            match node:
                case syntax.Name(span, text):
                    yield self.name(text, span, indices)
                case syntax.Application(function=function, arguments=arguments):
                    yield self.function(function)
                    yield from self.expressions(arguments, indices)
                case syntax.IndexedApplication(span=span, function=function, body=body, bindings=bound):
                    inner = {**indices, **{b.index.text: span for b in bound}}
                    yield self.function(function)
                    yield from self.expressions((body,), inner)
                    yield from self.bindings(bound, inner)
                case _:
                    yield from self.expressions(children(node), indices)

    def name(self, text: str, span: Span, indices: Indices) -> Occurrence:
        if text in indices:
            return Occurrence(text, span, "index", scope=indices[text])
        return Occurrence(text, span, self.kinds.get(text, "atom" if text in FUNCTIONS else "unknown"))

    def function(self, node: syntax.Identifier) -> Occurrence:
        kind = self.kinds.get(node.text, "atom" if node.text in FUNCTIONS else "unknown")
        return Occurrence(node.text, node.span, kind)


def children(node: syntax.Node) -> tuple[syntax.Node, ...]:
    """The expressions directly inside an expression."""
    match node:
        case syntax.Literal(items=items):
            return items
        case syntax.Binary(left=left, right=right):
            return left, right
        case syntax.Negation(operand=operand) | syntax.Transposition(operand=operand):
            return (operand,)
        case syntax.Interval(first=first, last=last):
            return first, last
        case syntax.Slice():
            return tuple(end for end in (node.first, node.last) if end is not None)
        case syntax.Subscripted(base=base, subscripts=subscripts):
            return base, *subscripts
        case syntax.Application(arguments=arguments):
            return arguments
        case syntax.IndexedApplication(body=body, bindings=bindings):
            return body, *(end for b in bindings for end in (b.first, b.last))
    return ()
