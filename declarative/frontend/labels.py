"""Secondary labels: where the names in an expression were declared, and their shapes."""

from __future__ import annotations

from declarative.diagnostics.diagnostic import Label
from declarative.frontend.scope import Scope
from declarative.ir.expression import Expression, Let, Symbol
from declarative.ir.traverse import walk

MOST = 3
"""More labels than this would hide the message."""


def declarations(args: tuple[Expression, ...], scope: Scope) -> list[Label]:
    """Labels at the declarations of the names that stand directly in the arguments, each saying its shape."""
    labels: dict[str, Label] = {}
    for arg in args:
        for node in walk(arg):
            name = node.name if isinstance(node, Symbol | Let) else None
            if name is None or name not in scope.names or len(labels) == MOST:
                continue
            labels[name] = Label(scope.names[name].span, f"{name} {_is(node)}")
    return list(labels.values())


def _is(node: Expression) -> str:
    if not node.shape:
        return "is a scalar"
    if node.rank == 1:
        return f"is a vector of {node.shape[0]}"
    return "is " + " x ".join(map(str, node.shape))
