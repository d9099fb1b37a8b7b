"""The outline of a program: its layer, and in it declarations, objective, named constraints and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from declarative.diagnostics.span import Span
from declarative.frontend import syntax
from declarative.ir.expression import Expression
from declarative.lsp.document import Document
from declarative.lsp.hover import facts


@dataclass(frozen=True)
class Symbol:
    """``span`` covers the statement, ``name_span`` what to select in it."""

    name: str
    kind: str
    span: Span
    name_span: Span
    detail: str = ""


def symbols(document: Document) -> Iterator[Symbol]:
    """Everything that a program names, in order."""
    for node in document.file.statements:
        match node:
            case syntax.LayerHead(name=name):
                yield Symbol(name.text, "layer", node.span, name.span, node.doc or "")
            case syntax.DimensionDeclaration(items=items):
                yield from (Symbol(item.name.text, "dim", item.span, item.name.span, "dim") for item in items)
            case syntax.SymbolDeclaration(name=name) | syntax.LetDeclaration(name=name):
                kind = node.kind if isinstance(node, syntax.SymbolDeclaration) else "let"
                yield Symbol(name.text, kind, node.span, name.span, _facts(document, name.text))
            case syntax.ExternDeclaration(name=name):
                yield Symbol(name.text, "extern", node.span, name.span, "extern")
            case syntax.ObjectiveStatement(sense=sense, local=local):
                head = Span(node.span.source, node.span.start, node.span.start + len(sense))
                yield Symbol(f"{sense} locally" if local else sense, "objective", node.span, head)
            case syntax.ConstraintStatement(name=name) if name is not None:
                yield Symbol(name.text, "constraint", node.span, name.span, "constraint")
            case syntax.OutputStatement(items=outputs):
                for item in outputs:
                    named = item.name or item.value
                    yield Symbol(named.span.text, "output", item.span, named.span, "output")


def _facts(document: Document, name: str) -> str:
    entry = document.scope.names.get(name)
    value = entry.value if entry is not None else None
    return facts(value) if isinstance(value, Expression) else ""
