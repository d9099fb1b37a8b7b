"""What hovering says: shape, sign, curvature and description of names, formulas of functions, the meaning of words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from declarative.atoms import ATOMS
from declarative.diagnostics.diagnostic import DiagnosticError
from declarative.diagnostics.span import Span
from declarative.frontend import syntax
from declarative.frontend.lexemes import scan
from declarative.frontend.scope import Scope
from declarative.frontend.sizes import ranges
from declarative.ir.atom import Atom
from declarative.ir.curvature import Curvature, Sign
from declarative.ir.expression import Expression
from declarative.ir.program import Program
from declarative.ir.shape import Shape, show
from declarative.ir.show import show as notation
from declarative.lsp import words
from declarative.lsp.document import Document, Place
from declarative.lsp.occurrences import Occurrence


@dataclass(frozen=True)
class Hover:
    """Markdown, and the stretch of text that it is about."""

    text: str
    span: Span


def hover(document: Document, offset: int) -> Hover | None:
    """What there is to say about the name, operator or word at a position."""
    occurrence = document.at(offset)
    if occurrence is not None:
        text = _about(occurrence, document, offset)
        return None if text is None else Hover(text, occurrence.span)
    return _word(document, offset) or _operator(document, offset)


def signature(atom: Atom) -> str:
    """How a function is called: ``huber(x[, M])``."""
    arguments = atom.arguments
    required = arguments[: len(arguments) - atom.optional]
    text = ", ".join(required) + "".join(f"[, {name}]" for name in arguments[len(required) :])
    return f"{atom.name}({text}{', ...' if atom.variadic else ''})"


def atom_text(atom: Atom) -> str:
    """A function's description and formula, and where it may stand."""
    lines = [_code(f"{signature(atom)} = {atom.formula}"), atom.doc]
    if atom.parameters_only:
        lines.append("Of parameters alone: it is computed before the solve.")
    if atom.local_only:
        lines.append("Under `locally` and `solve`, or of parameters alone.")
    return "\n\n".join(lines)


def facts(value: Expression) -> str:
    """Shape, sign and curvature in one line: ``(n,) · nonneg · convex``."""
    known = [] if value.sign is Sign.UNKNOWN else [value.sign.value]
    curvature = "no known curvature" if value.curvature is Curvature.UNKNOWN else value.curvature.value
    return " · ".join([show(value.shape), *known, curvature])


def _code(text: str) -> str:
    return f"```opt\n{text}\n```"


def _about(occurrence: Occurrence, document: Document, offset: int) -> str | None:
    name = occurrence.name
    match occurrence.kind:
        case "atom":
            value = _call(document, occurrence)
            return atom_text(ATOMS[name]) + (f"\n\nHere: {facts(value)}." if value is not None else "")
        case "attribute":
            return words.ATTRIBUTES.get(name)
        case "option":
            return words.OPTIONS.get(name)
        case "cone":
            return "The cone of positive semidefinite matrices." if name == "psd" else None
        case "word":
            return words.KEYWORDS[name]
        case "constraint":
            return _constraint(document, name)
        case "layer":
            return _layer(document)
        case "param" | "var" | "let" | "extern" | "dim" | "index":
            return _declared(occurrence, document)
    return None


def _declared(occurrence: Occurrence, document: Document) -> str | None:
    """The declaration, what is known of the value, and the description."""
    declaration = document.declaration(occurrence)
    if declaration is None:
        return None
    node = document.statement(declaration.span.start)
    parts = [_code(_declaration_text(node, declaration))]
    doc: str | None = None
    match node:
        case syntax.SymbolDeclaration(docs=docs) | syntax.ExternDeclaration(docs=docs) if occurrence.kind != "index":
            doc = docs[0] if docs else None
        case syntax.LetDeclaration(doc=description):
            doc = description
        case syntax.DimensionDeclaration(items=items):
            doc = next(item.doc for item in items if item.name.span == declaration.span)
    entry = document.scope.names.get(occurrence.name)
    if occurrence.kind != "index" and entry is not None and isinstance(entry.value, Expression):
        parts.append(facts(entry.value))
    return "\n\n".join([*parts, *([doc] if doc else [])])


def _declaration_text(node: syntax.Statement | None, declaration: Occurrence) -> str:
    match node:
        case syntax.DimensionDeclaration(items=items):
            item = next(item for item in items if item.name.span == declaration.span)
            return f"dim {declaration.name}" + (f" = {item.default.span.text}" if item.default else "")
        case syntax.SymbolDeclaration() | syntax.ExternDeclaration() | syntax.LetDeclaration() if (
            declaration.kind != "index"
        ):
            return re.sub(r'\s*"[^"]*"', "", node.span.text)
    binding = declaration.span.source.text[declaration.span.start :]
    match = re.match(r"\w+\s+in\s+[^,)\n#]*", binding)
    return f"for {match[0].rstrip()}" if match else declaration.name


def _call(document: Document, occurrence: Occurrence) -> Expression | None:
    """The value of the call whose function an occurrence is."""
    for place in document.places(occurrence.span.start):
        node = place.node
        if not isinstance(node, syntax.Application | syntax.IndexedApplication):
            continue
        if node.function.span == occurrence.span:
            return document.value(place)
    return None


def _constraint(document: Document, name: str) -> str | None:
    for node in document.file.statements:
        if isinstance(node, syntax.ConstraintStatement) and node.name is not None and node.name.text == name:
            shape = _dual_shape(document, node)
            return _code(" ".join(node.span.text.split())) + (f"\n\ndual {show(shape)}" if shape is not None else "")
    return None


def _dual_shape(document: Document, node: syntax.ConstraintStatement) -> Shape | None:
    """Index first, then the shape that the terms have together."""
    values = [document.value(Place(term, (node.bindings,))) for term in node.terms]
    indices = ranges(node.bindings, Scope(dict(document.scope.names)), {})
    if indices is None or any(value is None for value in values):
        return None
    return (*(i.length for i in indices.values()), *max((v.shape for v in values if v is not None), key=len))


def _layer(document: Document) -> str | None:
    """The layer's description and the structure that solves it."""
    head = next((s for s in document.file.statements if isinstance(s, syntax.LayerHead)), None)
    if head is None:
        return None
    parts = [_code(f"layer {head.name.text}"), *([head.doc] if head.doc else [])]
    structure = None if document.program is None else _structure(document.program)
    return "\n\n".join([*parts, *([f"Structure: {structure}."] if structure else [])])


def _structure(program: Program) -> str | None:
    from declarative.structures import (
        Match,
        canonicalise,
        recognise,
    )  # pays for numpy and scipy, on the first hover only

    try:
        matches = [match for _, match in recognise(canonicalise(program)) if isinstance(match, Match)]
    except DiagnosticError:
        return None
    return matches[0].structure if matches else None


def _word(document: Document, offset: int) -> Hover | None:
    """A keyword under the position, outside of comments and strings."""
    for lexeme in scan(document.source.text):
        if lexeme.start <= offset <= lexeme.end and lexeme.is_keyword:
            return Hover(words.KEYWORDS[lexeme.text], Span(document.source, lexeme.start, lexeme.end))
    return None


def _operator(document: Document, offset: int) -> Hover | None:
    """The smallest expression around a position that is on one of its operators or brackets."""
    places = document.places(offset)
    if not places or isinstance(places[-1].node, syntax.Number | syntax.Literal):
        return None
    value = document.value(places[-1])
    return None if value is None else Hover(f"{_code(notation(value))}\n\n{facts(value)}", places[-1].node.span)
