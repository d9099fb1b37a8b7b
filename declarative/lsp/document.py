"""A program in an editor: its text, and all that answers are computed from, each part when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.diagnostics.span import Source, Span
from declarative.frontend import analyse, declarations, syntax
from declarative.frontend.expressions import expression
from declarative.frontend.parser import parse
from declarative.frontend.scope import Indices, Scope
from declarative.frontend.sizes import ranges
from declarative.ir.expression import Expression
from declarative.ir.program import Program
from declarative.lsp.occurrences import Occurrence, children, occurrences


@dataclass(frozen=True)
class Place:
    """An expression of the text with the ``for`` clauses around it, outermost first."""

    node: syntax.Node
    bindings: tuple[tuple[syntax.Binding, ...], ...] = ()


@dataclass(frozen=True)
class Document:
    """A text, whole or broken; what can be read of a broken one is still known."""

    source: Source

    @cached_property
    def _analysis(self) -> tuple[Program | None, tuple[Diagnostic, ...]]:
        return analyse(self.source.text, self.source.name)

    @property
    def program(self) -> Program | None:
        """The program, if it is free of errors."""
        return self._analysis[0]

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return self._analysis[1]

    @cached_property
    def file(self) -> syntax.File:
        """The statements that could be read."""
        file, _ = parse(self.source)
        return file or syntax.File(Span(self.source, 0, 0), ())

    @cached_property
    def scope(self) -> Scope:
        """What the declarations that could be read declare."""
        scope = Scope()
        declarations.elaborate(self.file, scope, {})
        return scope

    @cached_property
    def occurrences(self) -> tuple[Occurrence, ...]:
        return occurrences(self.file)

    def at(self, offset: int) -> Occurrence | None:
        """The name that a position is in, or right behind."""
        touching = [o for o in self.occurrences if o.span.start <= offset <= o.span.end]
        return touching[-1] if touching else None

    def same(self, occurrence: Occurrence) -> list[Occurrence]:
        """Every occurrence of the same thing."""
        return [o for o in self.occurrences if o.means_the_same(occurrence)]

    def declaration(self, occurrence: Occurrence) -> Occurrence | None:
        return next((o for o in self.same(occurrence) if o.declares), None)

    def statement(self, offset: int) -> syntax.Statement | None:
        """The statement that a position is in."""
        return next((s for s in self.file.statements if s.span.start <= offset <= s.span.end), None)

    def places(self, offset: int) -> list[Place]:
        """The expressions around a position, outermost first."""
        statement = self.statement(offset)
        roots = [] if statement is None else list(_roots(statement))
        return [place for root in roots for place in _around(root, offset)]

    def value(self, place: Place) -> Expression | None:
        """The typed expression that stands at a place; None where it has a mistake."""
        scope = Scope(dict(self.scope.names), extents=dict(self.scope.extents))
        indices: Indices = {}
        for bindings in place.bindings:
            indices = indices | (ranges(bindings, scope, indices) or {})
        node = place.node
        return None if isinstance(node, syntax.Interval | syntax.Slice) else _elaborated(node, scope, indices)


def _elaborated(node: syntax.Node, scope: Scope, indices: Indices) -> Expression | None:
    return expression(node, scope, indices)  # type: ignore[arg-type]


def _roots(statement: syntax.Statement) -> Iterator[Place]:
    """The whole expressions of a statement."""
    match statement:
        case syntax.SymbolDeclaration(starts=starts):
            yield from map(Place, starts)
        case syntax.LetDeclaration(value=value):
            yield Place(value)
        case syntax.ObjectiveStatement(expression=objective) if objective is not None:
            yield Place(objective)
        case syntax.ConstraintStatement(terms=terms, bindings=bindings):
            yield from (Place(term, (bindings,)) for term in terms)
        case syntax.OutputStatement(items=items):
            yield from (Place(item.value) for item in items)


def _around(place: Place, offset: int) -> Iterator[Place]:
    node = place.node
    if not node.span.start <= offset <= node.span.end:
        return
    yield place
    inner = (*place.bindings, node.bindings) if isinstance(node, syntax.IndexedApplication) else place.bindings
    for child in children(node):
        yield from _around(Place(child, inner), offset)
