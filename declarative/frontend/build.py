"""Lark's tree to the syntax tree of `declarative.frontend.syntax`."""

from __future__ import annotations

from typing import Any

from lark import Transformer, v_args
from lark.tree import Meta

from declarative.diagnostics.span import Source, Span
from declarative.frontend import syntax

Children = list[Any]


def _binary(operator: str) -> Any:
    def build(self: Builder, meta: Meta, children: Children) -> syntax.Binary:
        return syntax.Binary(self.at(meta), operator, children[0], children[-1])

    return build


@v_args(meta=True)
class Builder(Transformer[Any, Any]):
    """One method per rule of the grammar."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def at(self, meta: Meta) -> Span:
        """The span of a rule; a file without statements has no place of its own."""
        return (
            Span(self.source, 0, 0)
            if meta.empty
            else Span(self.source, meta.start_pos, min(meta.end_pos, len(self.source.text)))
        )

    def token(self, token: Any) -> Span:
        return Span(self.source, token.start_pos, token.end_pos)

    def identifier(self, token: Any) -> syntax.Identifier:
        return syntax.Identifier(self.token(token), str(token))

    def string(self, token: Any) -> str | None:
        return None if token is None else str(token)[1:-1]

    # Expressions

    add, subtract, multiply, divide, matmul = map(_binary, "+-*/@")
    power, starstar = _binary("^"), _binary("**")

    def name(self, meta: Meta, children: Children) -> syntax.Name:
        return syntax.Name(self.at(meta), str(children[0]))

    def number(self, meta: Meta, children: Children) -> syntax.Number:
        return syntax.Number(self.at(meta), float(children[0]))

    def literal(self, meta: Meta, children: Children) -> syntax.Literal:
        return syntax.Literal(self.at(meta), tuple(children))

    def negate(self, meta: Meta, children: Children) -> syntax.Negation:
        return syntax.Negation(self.at(meta), children[0])

    def transpose(self, meta: Meta, children: Children) -> syntax.Transposition:
        return syntax.Transposition(self.at(meta), children[0])

    def dot_t(self, meta: Meta, children: Children) -> syntax.Transposition:
        return syntax.Transposition(self.at(meta), children[0], refused=True)

    def index(self, meta: Meta, children: Children) -> syntax.Subscripted:
        return syntax.Subscripted(self.at(meta), children[0], tuple(children[1:]))

    def interval(self, meta: Meta, children: Children) -> syntax.Interval:
        return syntax.Interval(self.at(meta), children[0], children[1])

    def slice(self, meta: Meta, children: Children) -> syntax.Slice:
        return syntax.Slice(self.at(meta), children[0], children[1])

    def call(self, meta: Meta, children: Children) -> syntax.Application:
        arguments = tuple(child for child in children[1:] if child is not None)
        return syntax.Application(self.at(meta), self.identifier(children[0]), arguments)

    def indexed_call(self, meta: Meta, children: Children) -> syntax.IndexedApplication:
        return syntax.IndexedApplication(self.at(meta), self.identifier(children[0]), children[1], children[2])

    def bindings(self, _: Meta, children: Children) -> tuple[syntax.Binding, ...]:
        return tuple(children)

    def binding(self, meta: Meta, children: Children) -> syntax.Binding:
        return syntax.Binding(self.at(meta), self.identifier(children[0]), children[1], children[2])

    # Declarations

    def layer(self, meta: Meta, children: Children) -> syntax.LayerHead:
        return syntax.LayerHead(self.at(meta), self.identifier(children[0]), self.string(children[1]))

    def dimensions(self, meta: Meta, children: Children) -> syntax.DimensionDeclaration:
        return syntax.DimensionDeclaration(self.at(meta), tuple(children))

    def dimension(self, meta: Meta, children: Children) -> syntax.DimensionItem:
        name, default, doc = children
        number = None if default is None else syntax.Number(self.token(default), float(default))
        return syntax.DimensionItem(self.at(meta), self.identifier(name), number, self.string(doc))

    def shape(self, _: Meta, children: Children) -> tuple[syntax.Expression, ...]:
        return tuple(children)

    def attribute(self, _: Meta, children: Children) -> tuple[str, Any]:
        return "attribute", self.identifier(children[0])

    def start_at(self, _: Meta, children: Children) -> tuple[str, Any]:
        return "start", children[0]

    def inline(self, _: Meta, children: Children) -> tuple[str, Any]:
        return "value", children[0]

    def doc(self, _: Meta, children: Children) -> tuple[str, Any]:
        return "doc", self.string(children[0])

    def parameter(self, meta: Meta, children: Children) -> syntax.SymbolDeclaration:
        return self.symbol("param", meta, children)

    def variable(self, meta: Meta, children: Children) -> syntax.SymbolDeclaration:
        return self.symbol("var", meta, children)

    def symbol(self, kind: str, meta: Meta, children: Children) -> syntax.SymbolDeclaration:
        name, shape, *tail = children
        attributes, starts, values, docs = (
            tuple(item for tag, item in tail if tag == wanted) for wanted in ("attribute", "start", "value", "doc")
        )
        return syntax.SymbolDeclaration(
            self.at(meta), kind, self.identifier(name), shape or (), attributes, starts, values, docs
        )

    def let(self, meta: Meta, children: Children) -> syntax.LetDeclaration:
        name, value, doc = children
        return syntax.LetDeclaration(self.at(meta), self.identifier(name), value, self.string(doc))

    def port(self, meta: Meta, children: Children) -> syntax.Port:
        return syntax.Port(self.at(meta), self.identifier(children[0]), children[1] or ())

    def extern(self, meta: Meta, children: Children) -> syntax.ExternDeclaration:
        ports = tuple(child for child in children[1:] if isinstance(child, syntax.Port))
        tail = [child for child in children[1:] if not isinstance(child, syntax.Port)]
        attributes, docs = (tuple(item for tag, item in tail if tag == wanted) for wanted in ("attribute", "doc"))
        return syntax.ExternDeclaration(
            self.at(meta), self.identifier(children[0]), ports[:-1], ports[-1], attributes, docs
        )

    # Objective, constraints, outputs

    def objective(self, meta: Meta, children: Children) -> syntax.ObjectiveStatement:
        sense, locally, expression = children
        return syntax.ObjectiveStatement(self.at(meta), str(sense), locally is not None, expression)

    def solve(self, meta: Meta, _: Children) -> syntax.ObjectiveStatement:
        return syntax.ObjectiveStatement(self.at(meta), "solve", False, None)

    def subject_to(self, meta: Meta, _: Children) -> syntax.SubjectTo:
        return syntax.SubjectTo(self.at(meta))

    def relation(self, meta: Meta, children: Children) -> syntax.Relation:
        return syntax.Relation(self.at(meta), str(children[0]))

    def membership(self, _: Meta, children: Children) -> syntax.Identifier:
        return self.identifier(children[0])

    def constraint(self, meta: Meta, children: Children) -> syntax.ConstraintStatement:
        *parts, bindings = children
        relations = tuple(part for part in parts if isinstance(part, syntax.Relation))
        cones = [part for part in parts if isinstance(part, syntax.Identifier)]
        terms = tuple(part for part in parts if not isinstance(part, syntax.Relation | syntax.Identifier))
        return syntax.ConstraintStatement(
            self.at(meta), None, terms, relations, cones[0] if cones else None, bindings or ()
        )

    def named_constraint(self, meta: Meta, children: Children) -> syntax.ConstraintStatement:
        name, body = children
        return syntax.ConstraintStatement(
            self.at(meta), self.identifier(name), body.terms, body.relations, body.cone, body.bindings
        )

    def output_item(self, meta: Meta, children: Children) -> syntax.OutputItem:
        value, name = children
        return syntax.OutputItem(self.at(meta), value, None if name is None else self.identifier(name))

    def output(self, meta: Meta, children: Children) -> syntax.OutputStatement:
        return syntax.OutputStatement(self.at(meta), tuple(children))

    def option_value(self, _: Meta, children: Children) -> float | str:
        token = children[-1]
        if token.type == "NUMBER":
            return float(token) if children[0] is None or len(children) == 1 else -float(token)
        return str(token).strip('"')

    def option(self, meta: Meta, children: Children) -> syntax.OptionStatement:
        return syntax.OptionStatement(self.at(meta), self.identifier(children[0]), children[1])

    def start(self, meta: Meta, children: Children) -> syntax.File:
        return syntax.File(self.at(meta), tuple(children))
