"""The syntax tree: a program as written, every node with its span and no meaning yet."""

from __future__ import annotations

from dataclasses import dataclass

from declarative.diagnostics.span import Span


@dataclass(frozen=True)
class Node:
    """Base of every node; ``span`` covers its text, half open."""

    span: Span


@dataclass(frozen=True)
class Identifier(Node):
    """A name where it is declared or referred to."""

    text: str


# Expressions


@dataclass(frozen=True)
class Name(Node):
    text: str


@dataclass(frozen=True)
class Number(Node):
    value: float


@dataclass(frozen=True)
class Literal(Node):
    """``[1, 2, 3]``, possibly nested."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Binary(Node):
    """``left OP right``; OP is one of ``+ - * / @ ^ **``."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Negation(Node):
    operand: Expression


@dataclass(frozen=True)
class Transposition(Node):
    """``operand'``; ``refused`` where it was written ``operand.T``."""

    operand: Expression
    refused: bool = False


@dataclass(frozen=True)
class Interval(Node):
    """``first..last`` in a subscript."""

    first: Expression
    last: Expression


@dataclass(frozen=True)
class Slice(Node):
    """``first:last`` in a subscript, which is refused."""

    first: Expression | None
    last: Expression | None


@dataclass(frozen=True)
class Subscripted(Node):
    base: Expression
    subscripts: tuple[Expression | Interval | Slice, ...]


@dataclass(frozen=True)
class Application(Node):
    """``function(arguments)``."""

    function: Identifier
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Binding(Node):
    """``index in first..last``."""

    index: Identifier
    first: Expression
    last: Expression


@dataclass(frozen=True)
class IndexedApplication(Node):
    """``function(body for index in first..last, ...)``; only ``sum`` has a meaning."""

    function: Identifier
    body: Expression
    bindings: tuple[Binding, ...]


Expression = (
    Name | Number | Literal | Binary | Negation | Transposition | Subscripted | Application | IndexedApplication
)


# Statements


@dataclass(frozen=True)
class LayerHead(Node):
    name: Identifier
    doc: str | None


@dataclass(frozen=True)
class DimensionItem(Node):
    name: Identifier
    default: Number | None
    doc: str | None


@dataclass(frozen=True)
class DimensionDeclaration(Node):
    items: tuple[DimensionItem, ...]


@dataclass(frozen=True)
class SymbolDeclaration(Node):
    """``param`` or ``var``; what follows the shape is kept in order of writing."""

    kind: str
    name: Identifier
    shape: tuple[Expression, ...]
    attributes: tuple[Identifier, ...]
    starts: tuple[Expression, ...]
    values: tuple[Expression, ...]
    docs: tuple[str, ...]


@dataclass(frozen=True)
class LetDeclaration(Node):
    name: Identifier
    value: Expression
    doc: str | None


@dataclass(frozen=True)
class Port(Node):
    """An input or the output of an extern, with its shape."""

    name: Identifier
    shape: tuple[Expression, ...]


@dataclass(frozen=True)
class ExternDeclaration(Node):
    name: Identifier
    inputs: tuple[Port, ...]
    output: Port
    attributes: tuple[Identifier, ...]
    docs: tuple[str, ...]


@dataclass(frozen=True)
class ObjectiveStatement(Node):
    """``minimize`` or ``maximize`` with an expression, or ``solve`` with none."""

    sense: str
    local: bool
    expression: Expression | None


@dataclass(frozen=True)
class SubjectTo(Node):
    pass


@dataclass(frozen=True)
class Relation(Node):
    text: str


@dataclass(frozen=True)
class ConstraintStatement(Node):
    """``terms`` joined by ``relations``, or one term ``in`` a cone."""

    name: Identifier | None
    terms: tuple[Expression, ...]
    relations: tuple[Relation, ...]
    cone: Identifier | None
    bindings: tuple[Binding, ...]


@dataclass(frozen=True)
class OutputItem(Node):
    value: Expression
    name: Identifier | None


@dataclass(frozen=True)
class OutputStatement(Node):
    items: tuple[OutputItem, ...]


@dataclass(frozen=True)
class OptionStatement(Node):
    name: Identifier
    value: float | str


Statement = (
    LayerHead
    | DimensionDeclaration
    | SymbolDeclaration
    | LetDeclaration
    | ExternDeclaration
    | ObjectiveStatement
    | SubjectTo
    | ConstraintStatement
    | OutputStatement
    | OptionStatement
)


@dataclass(frozen=True)
class File(Node):
    """A whole program, its statements in order of writing."""

    statements: tuple[Statement, ...]
