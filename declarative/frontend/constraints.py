"""Constraints: relations, chains, cones and the indices they run over."""

from __future__ import annotations

from collections.abc import Sequence

from declarative.diagnostics.diagnostic import Label
from declarative.frontend import sizes, syntax
from declarative.frontend.expressions import whole
from declarative.frontend.foreign import RELATIONS
from declarative.frontend.scope import RESERVED, Scope
from declarative.ir.program import Constraint, Relation

CONES = ("psd", "nsd")


def constraint(
    node: syntax.ConstraintStatement, scope: Scope, everyone: Sequence[syntax.ConstraintStatement]
) -> Constraint | None:
    """One constraint, or None where something in it is wrong."""
    relation = _relation(node, scope)
    _check_name(node, scope, everyone)
    indices = sizes.ranges(node.bindings, scope, {})
    bound = indices if indices is not None else {}
    terms = [whole(term, scope, bound) for term in node.terms] if indices is not None else [None]
    known = tuple(term for term in terms if term is not None)
    if relation is None or indices is None or len(known) < len(terms):
        return None
    for name, bounds in indices.items():
        if (bounds.first.names | bounds.last.names) & indices.keys():
            scope.report(
                "E206", f"the range of `{name}` depends on another index of the same constraint", node.span,
                notes=["a constraint's indices run over a box, so that its dual is an array"],
            )  # fmt: skip
            return None
    return Constraint(node.name.text if node.name else None, relation, known, tuple(indices.values()), at=node.span)


def _check_name(node: syntax.ConstraintStatement, scope: Scope, everyone: Sequence[syntax.ConstraintStatement]) -> None:
    if node.name is None:
        return
    name = node.name
    if name.text in RESERVED:
        scope.report(
            "E205", f"`{name.text}` is a word of the language and cannot name a constraint", name.span,
            help=f"choose another name, for instance {name.text}_",
        )  # fmt: skip
    first = next(c.name for c in everyone if c.name and c.name.text == name.text)
    if first is not name:
        scope.report(
            "E202", f"two constraints are named `{name.text}`", name.span, "named again here",
            secondary=[Label(first.span, "the first is here")], help="rename one of them",
        )  # fmt: skip


def _relation(node: syntax.ConstraintStatement, scope: Scope) -> Relation | None:
    if node.cone is not None:
        return _cone(node, node.cone, scope)
    refused = False
    for relation in node.relations:
        if relation.text in RELATIONS:
            code, why, instead = RELATIONS[relation.text]
            help = f"write `{instead}`" if instead else "rethink the constraint; `<=`, `>=` and `==` are available"
            scope.report(
                code, f"`{relation.text}` is not a relation of the language", relation.span, notes=[why], help=help
            )
            refused = True
    if refused:
        return None
    texts = {relation.text for relation in node.relations}
    if len(texts) > 1:
        scope.report(
            "E110", "a chain of relations points one way", node.relations[1].span, "points the other way",
            help="write two constraints",
        )  # fmt: skip
        return None
    if len(node.relations) > 2:
        scope.report("E110", "a chain has at most three terms", node.relations[2].span, help="write two constraints")
        return None
    if len(node.relations) == 2 and texts == {"=="}:
        scope.report(
            "E110", "a chain has one dual, and two equations have two", node.relations[1].span,
            help="write two constraints",
        )  # fmt: skip
        return None
    text = node.relations[0].text
    return "<=" if text == "<=" else ">=" if text == ">=" else "=="


SIGNS = {"nonneg": ">=", "nonpos": "<="}


def _cone(node: syntax.ConstraintStatement, cone: syntax.Identifier, scope: Scope) -> Relation | None:
    if cone.text == "psd":
        return "psd"
    if cone.text == "nsd":
        help = f"-({node.terms[0].span.text}) in psd"
    elif cone.text in SIGNS:
        help = f"{node.terms[0].span.text} {SIGNS[cone.text]} 0"
    else:
        close = scope.close(cone.text, ["psd"])
        help = "did you mean `psd`?" if close else "a cone of second order is written norm2(x) <= t, a sign x >= 0"
    scope.report("E110", f"there is no cone `{cone.text}`", cone.span, "only `psd` follows `in`", help=help)
    return None
