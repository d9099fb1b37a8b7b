"""What a part of a program rests on: the declarations of the names that occur in it.

Every part of a program built in Python carries its own scope; joining parts joins their scopes, and the layer has the
union. A dimension that is only mentioned, as the string ``"n"``, is declared by being mentioned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

from declarative.builder.place import failure
from declarative.diagnostics.diagnostic import Label
from declarative.diagnostics.span import Span
from declarative.ir.expression import Expression, Extern, Let, Parameter, Variable
from declarative.ir.program import Dimension
from declarative.ir.words import RESERVED

Node = Dimension | Parameter | Variable | Let | Extern
Order = tuple[int, int]

KINDS = {Dimension: "dim", Parameter: "param", Variable: "var", Let: "let", Extern: "extern"}

_CLOCK = count()


@dataclass(frozen=True)
class Declaration:
    """A declared name. ``order`` sorts declarations as they were made; ``mentioned``: a dimension given as a string."""

    node: Node
    order: Order
    start: Expression | None = None
    mentioned: bool = False

    @property
    def at(self) -> Span | None:
        return self.node.at


Scope = Mapping[str, Declaration]


def tick() -> int:
    """The next moment of declaration."""
    return next(_CLOCK)


def join(*scopes: Scope) -> Scope:
    """The union; two different declarations of one name are an error."""
    joined: dict[str, Declaration] = {}
    for scope in scopes:
        for name, declaration in scope.items():
            known = joined.get(name, declaration)
            joined[name] = known if known is declaration else _reconciled(name, known, declaration)
    return joined


def _reconciled(name: str, first: Declaration, second: Declaration) -> Declaration:
    if isinstance(first.node, Dimension) and isinstance(second.node, Dimension):
        if first.mentioned != second.mentioned:
            return second if first.mentioned else first
        if first.node == second.node:
            return min(first, second, key=lambda declaration: declaration.order)
    elif first.node == second.node and first.start == second.start:
        return min(first, second, key=lambda declaration: declaration.order)
    first, second = sorted((first, second), key=lambda declaration: declaration.order)
    kind = KINDS[type(first.node)]
    raise failure(
        "E202",
        f"`{name}` is declared twice",
        at=second.at,
        label="declared again here",
        secondary=(Label(first.at, f"the first is a {kind}"),) if first.at else (),
        help="rename one of them",
    )


def check_name(name: str, kind: str) -> None:
    """Raises where a name could not stand in a program."""
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise failure(
            "E205",
            f"`{name}` cannot name a {kind}",
            help="a name has letters, digits and `_`, and starts with a letter",
        )
    if name in RESERVED:
        raise failure(
            "E205",
            f"`{name}` is a word of the language and cannot name a {kind}",
            help=f"choose another name, for instance {name}_",
        )
