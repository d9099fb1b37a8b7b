"""A piece of source with its syntax tree: where nodes stand in it, and spans replaced without touching the rest."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import cache, cached_property

from declarative.codegen.standalone.scope import locals_of, module_names

OPERATORS = "declarative"
"""The namespace of the runtime's operators in ``torch.ops``."""
NAMESPACE = "_OPERATORS"
"""What a standalone file calls that of its own."""


class Text:
    """The text of a syntax tree and where its nodes stand in it."""

    def __init__(self, source: str) -> None:
        self.data = source.encode()
        self.tree = ast.parse(source)
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    @cached_property
    def own(self) -> tuple[ast.expr, ...]:
        """The names that are the module's, each with the attribute that is taken of it at once, ``library.serves``."""
        attributes = {id(n.value): n for n in ast.walk(self.tree) if isinstance(n, ast.Attribute)}
        return tuple(attributes.get(id(name), name) for name in module_names(self.tree))

    @cached_property
    def hidden(self) -> frozenset[str]:
        """Every name that a function or comprehension in it binds for itself."""
        return locals_of(self.tree)

    @cached_property
    def operators(self) -> tuple[ast.Attribute, ...]:
        """Every ``torch.ops.declarative.NAME``."""
        nodes = (n for n in ast.walk(self.tree) if isinstance(n, ast.Attribute))
        return tuple(n for n in nodes if ast.unparse(n.value) == f"torch.ops.{OPERATORS}")

    @cached_property
    def registered(self) -> tuple[ast.Constant, ...]:
        """The names ``"declarative::NAME"`` under which operators are registered."""
        calls = (n for n in ast.walk(self.tree) if isinstance(n, ast.Call))
        names = (c.args[0] for c in calls if c.args and ast.unparse(c.func) == "torch.library.custom_op")
        return tuple(n for n in names if isinstance(n, ast.Constant))

    def span(self, node: ast.AST) -> tuple[int, int]:
        """First byte, and the byte after the last."""
        first, last = self.starts[node.lineno - 1], self.starts[node.end_lineno - 1]  # type: ignore[attr-defined]
        return first + node.col_offset, last + node.end_col_offset  # type: ignore[attr-defined]

    def of(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.data[start:end].decode()

    def lines(self, first: ast.stmt, last: ast.stmt) -> tuple[int, int]:
        """The whole lines of consecutive statements."""
        return self.starts[first.lineno - 1], self.starts[min(last.end_lineno or 0, len(self.starts) - 1)]

    def replaced(self, edits: Sequence[tuple[int, int, str]]) -> str:
        """The text with some spans replaced; they do not overlap."""
        data = self.data
        for start, end, new in sorted(edits, reverse=True):
            data = data[:start] + new.encode() + data[end:]
        return data.decode()


@cache
def parsed(source: str) -> Text:
    """The text of a source; the runtime's definitions are looked at many times."""
    return Text(source)
