"""Declarations: dims first, then symbols and externs, whose shapes need them, then lets and starting points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from declarative.diagnostics.span import Span
from declarative.frontend import sizes, syntax
from declarative.frontend.expressions import extent, literal, whole
from declarative.frontend.foreign import ATTRIBUTE_ALIASES
from declarative.frontend.limits import LARGEST_SIZE, shortened
from declarative.frontend.scope import Entry, Kind, Scope
from declarative.ir.expression import ATTRIBUTES, Binding, Expression, Extern, Let, Nested, Parameter, Variable
from declarative.ir.program import Dimension
from declarative.ir.shape import Shape, Size, show

BINDINGS = ("learned", "constant")


@dataclass(frozen=True)
class Declarations:
    """Everything declared, each kind in order of declaration."""

    dimensions: tuple[Dimension, ...]
    parameters: tuple[Parameter, ...]
    variables: tuple[Variable, ...]
    starts: tuple[tuple[str, Expression], ...]
    lets: tuple[Let, ...]
    externs: tuple[Extern, ...]


def elaborate(file: syntax.File, scope: Scope, fixed: Mapping[str, int]) -> Declarations:
    """All declarations of a file; ``fixed`` replaces the defaults of dims."""
    dimensions = tuple(
        _dimension(item, scope, fixed)
        for statement in file.statements
        if isinstance(statement, syntax.DimensionDeclaration)
        for item in statement.items
    )
    symbols: list[Parameter | Variable] = []
    externs: list[Extern] = []
    for statement in file.statements:
        if isinstance(statement, syntax.SymbolDeclaration):
            symbol = _symbol(statement, scope)
            symbols += [symbol] if symbol is not None else []
        elif isinstance(statement, syntax.ExternDeclaration):
            extern = _extern(statement, scope)
            externs += [extern] if extern is not None else []
    lets = [_let(s, scope) for s in file.statements if isinstance(s, syntax.LetDeclaration)]
    return Declarations(
        dimensions,
        tuple(s for s in symbols if isinstance(s, Parameter)),
        tuple(s for s in symbols if isinstance(s, Variable)),
        tuple(_starts(file, scope)),
        tuple(let for let in lets if let is not None),
        tuple(externs),
    )


def _dimension(item: syntax.DimensionItem, scope: Scope, fixed: Mapping[str, int]) -> Dimension:
    default = None
    if item.default is not None:
        value = item.default.value
        if not 1 <= value <= LARGEST_SIZE or not value.is_integer():
            at = item.default.span
            scope.report("E206", f"the size of a dim must be a whole number from 1, not {shortened(at.text)}", at)
        else:
            default = int(value)
    scope.declare(item.name, Entry("dim", item.name.span))
    return Dimension(item.name.text, fixed.get(item.name.text, default), at=item.name.span)


def _symbol(node: syntax.SymbolDeclaration, scope: Scope) -> Parameter | Variable | None:
    """A param or var. One with a mistake is entered without a value, so that its uses add no noise."""
    kind: Kind = "param" if node.kind == "param" else "var"
    at = Span(node.span.source, node.name.span.start, _shape_end(node))
    shape = sizes.shape(node.shape, scope)
    attributes, bindings = _attributes(node, scope)
    value = _inline(node, shape, bindings, scope)
    doc = node.docs[0] if node.docs else None
    symbol: Parameter | Variable | None = None
    if shape is not None and kind == "param":
        binding: Binding = "learned" if "learned" in bindings else "constant" if "constant" in bindings else "call"
        symbol = Parameter(node.name.text, shape, attributes, doc, at, binding, value)
    elif shape is not None:
        symbol = Variable(node.name.text, shape, attributes, doc, at)
    scope.declare(node.name, Entry(kind, at, symbol))
    return symbol


def _shape_end(node: syntax.SymbolDeclaration) -> int:
    """The position behind the name and its shape."""
    if not node.shape:
        return node.name.span.end
    last = node.shape[-1].span
    return last.source.text.index("]", last.end) + 1


def _attributes(node: syntax.SymbolDeclaration, scope: Scope) -> tuple[frozenset[str], frozenset[str]]:
    """Attributes and bindings, with unknown, misplaced and repeated ones reported."""
    known = ATTRIBUTES + (BINDINGS if node.kind == "param" else ())
    seen: set[str] = set()
    for attribute in node.attributes:
        word = attribute.text
        if word in BINDINGS and node.kind == "var":
            scope.report(
                "E210", f"a var cannot be `{word}`: it is solved for", attribute.span,
                help=f"param {Span(node.span.source, node.name.span.start, _shape_end(node)).text} {word}",
            )  # fmt: skip
        elif word == "smooth":
            scope.report("E210", "`smooth` belongs to an extern", attribute.span, help="remove it")
        elif word not in known:
            close = ATTRIBUTE_ALIASES.get(word.lower()) or scope.close(word, (*known, "from"))
            help = f"did you mean `{close}`?" if close else f"the attributes are {', '.join(known)}"
            scope.report("E210", f"unknown attribute `{word}`", attribute.span, help=help)
        elif word in seen:
            scope.report("E210", f"`{word}` is given twice", attribute.span, help="remove one")
        seen.add(word)
    if len(node.docs) > 1:
        scope.report("E210", f"`{node.name.text}` has two descriptions", node.span, help="keep one")
    return frozenset(seen) & frozenset(ATTRIBUTES), frozenset(seen) & frozenset(BINDINGS)


def _inline(
    node: syntax.SymbolDeclaration, shape: Shape | None, bindings: frozenset[str], scope: Scope
) -> Nested | None:
    """The value after ``=``."""
    if not node.values:
        return None
    written = node.values[0]
    name = Span(node.span.source, node.name.span.start, _shape_end(node)).text
    if node.kind == "var":
        scope.report(
            "E211", "a var has no value: it is solved for", written.span,
            help=f"for a start: var {name} from {written.span.text}; for a fixed value:"
            f" {_constant(name, node, written)}",
        )  # fmt: skip
        return None
    if "constant" not in bindings:
        scope.report(
            "E211", f"only a `constant` has a value in the program, and `{node.name.text}` is not one", written.span,
            help=_constant(name, node, written),
        )  # fmt: skip
        return None
    value = literal(written, scope)
    if value is not None and shape is not None:
        _check_inline_shape(value, shape, written, node.name.text, scope)
    return value


def _constant(name: str, node: syntax.SymbolDeclaration, written: syntax.Expression) -> str:
    """The declaration of a constant of this value; a number is no value of a vector, whose values are a list."""
    if node.shape and not isinstance(written, syntax.Literal):
        return f"param {name} constant, with its values given to the constructor"
    return f"param {name} constant = {written.span.text}"


def _check_inline_shape(value: Nested, shape: Shape, written: syntax.Expression, name: str, scope: Scope) -> None:
    given: list[int] = []
    inner = value
    while isinstance(inner, tuple):
        given.append(len(inner))
        inner = inner[0]
    if [s.constant if s.is_number else None for s in shape] != given:
        declared = "[" + ", ".join(map(str, given)) + "]" if given else ""
        scope.report(
            "E211", f"`{name}` is declared {show(shape)}, but its value is {show(tuple(map(Size, given)))}",
            written.span, help=f"param {name}{declared} constant = ...",
        )  # fmt: skip


def _extern(node: syntax.ExternDeclaration, scope: Scope) -> Extern | None:
    for attribute in node.attributes:
        if attribute.text != "smooth":
            close = scope.close(attribute.text, ["smooth"])
            help = "did you mean `smooth`?" if close else "the only attribute of an extern is `smooth`"
            scope.report("E210", f"unknown attribute `{attribute.text}`", attribute.span, help=help)
    ports = [(port.name.text, sizes.shape(port.shape, scope)) for port in (*node.inputs, node.output)]
    known = [(name, shape) for name, shape in ports if shape is not None]
    extern = None
    if len(known) == len(ports):
        smooth = any(a.text == "smooth" for a in node.attributes)
        doc = node.docs[0] if node.docs else None
        extern = Extern(node.name.text, tuple(known[:-1]), known[-1], smooth, doc, at=node.span)
    scope.declare(node.name, Entry("extern", node.span, extern))
    return extern


def _let(node: syntax.LetDeclaration, scope: Scope) -> Let | None:
    body = whole(node.value, scope, {})
    if body is not None:
        scope.extents[node.name.text] = extent(body, scope)
    let = None if body is None else Let(node.name.text, body, at=node.name.span)
    scope.declare(node.name, Entry("let", node.name.span, let))
    return let


def _starts(file: syntax.File, scope: Scope) -> list[tuple[str, Expression]]:
    """The starting points, after all declarations, since they may use any parameter."""
    starts = []
    for node in file.statements:
        if not isinstance(node, syntax.SymbolDeclaration) or not node.starts:
            continue
        if node.kind == "param":
            scope.report("E210", "only a var has a starting point", node.starts[0].span, help="remove `from`")
            continue
        if len(node.starts) > 1:
            scope.report("E210", "a var has one starting point", node.starts[1].span, help="keep one")
        start = whole(node.starts[0], scope, {})
        if start is not None:
            starts.append((node.name.text, start))
    return starts
