"""The runtime's own sources, read as data: modules, what they import, and their definitions with the comments above."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

PACKAGE = "declarative.runtime"
EMITTED = ""
"""The name of the emitted module among the runtime's."""


@dataclass(frozen=True)
class External:
    """A name that comes from outside: ``import module`` where ``name`` is None, else ``from module import name``."""

    module: str
    name: str | None
    local: str


@dataclass(frozen=True)
class Internal:
    """A name of a module of the runtime, or, where ``name`` is None, the module itself."""

    module: str
    name: str | None


@dataclass(frozen=True)
class Definition:
    """A statement of a module, with the comments above it and the docstring below it; it binds ``names``.

    One that binds none is there for its effect. ``position`` is its place in the module.
    """

    module: str
    names: tuple[str, ...]
    source: str
    position: int


@dataclass(frozen=True)
class Module:
    """A module as data. ``doc``: the inside of its docstring, as written. ``first``: what it imports of the runtime
    when it is loaded, which must stand before it.
    """

    name: str
    doc: str
    imports: Mapping[str, External | Internal]
    first: tuple[Internal, ...]
    definitions: tuple[Definition, ...]

    def defining(self, name: str) -> Definition | None:
        """The definition of a name, None where the module does not bind it."""
        return next((d for d in self.definitions if name in d.names), None)


@cache
def runtime_module(name: str) -> Module | None:
    """A module of the runtime by its dotted name; None where there is none."""
    text = _text(name)
    return None if text is None else read(name, text)


def _text(name: str) -> str | None:
    place = resources.files("declarative")
    for part in name.split(".")[1:]:
        place = place.joinpath(part)
    for found in (place.joinpath("__init__.py"), place.parent.joinpath(f"{place.name}.py")):  # type: ignore[attr-defined]
        if found.is_file():
            return str(found.read_text("utf-8"))
    return None


def read(name: str, text: str) -> Module:
    """The module of a text."""
    tree = ast.parse(text)
    imports: dict[str, External | Internal] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and (node in tree.body or is_internal(node)):
            imports.update(_imported(node))
    definitions = tuple(_definitions(name, text, tree))
    eager = [n for n in tree.body if isinstance(n, ast.ImportFrom) and is_internal(n)]
    first = tuple(t for n in eager for t in _imported(n).values() if isinstance(t, Internal))
    doc = (ast.get_source_segment(text, tree.body[0]) or "") if tree.body and _is_text(tree.body[0]) else ""
    return Module(name, doc.removeprefix('"""').removesuffix('"""').rstrip(), imports, first, definitions)


def is_internal(node: ast.Import | ast.ImportFrom) -> bool:
    """Whether an import is of the runtime."""
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)


def _imported(node: ast.Import | ast.ImportFrom) -> dict[str, External | Internal]:
    if isinstance(node, ast.Import):
        # `import a.b` binds `a`; each is kept under its whole name, which is how it is used.
        return {a.asname or a.name: External(a.name, None, a.asname or a.name) for a in node.names}
    module = node.module or ""
    if module == "__future__":
        return {}
    if is_internal(node):
        return {a.asname or a.name: Internal(module, a.name) for a in node.names}
    return {a.asname or a.name: External(module, a.name, a.asname or a.name) for a in node.names}


def resolve(target: Internal) -> Internal | External:
    """Where a name comes from, through the modules that only pass it on."""
    if target.name is None:
        return target
    module = runtime_module(target.module)
    if module is not None and module.defining(target.name) is None:
        passed = module.imports.get(target.name)
        if passed is not None and passed != target:
            return resolve(passed) if isinstance(passed, Internal) else passed
        if runtime_module(f"{target.module}.{target.name}") is not None:
            return Internal(f"{target.module}.{target.name}", None)
    return target


def _definitions(module: str, text: str, tree: ast.Module) -> Iterator[Definition]:
    lines = text.splitlines(keepends=True)
    body = [n for n in tree.body if not _skipped(n)]
    for position, node in enumerate(body):
        if _is_text(node):
            continue
        start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))]) - 1
        while start and lines[start - 1].startswith("#"):
            start -= 1
        after = body[position + 1] if position + 1 < len(body) else None
        end = after.end_lineno if after is not None and _is_text(after) else node.end_lineno
        yield Definition(module, tuple(_bound(node)), "".join(lines[start:end]), position)


def _skipped(node: ast.stmt) -> bool:
    """Imports, which are told otherwise, and ``__all__``."""
    checking = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return checking or isinstance(node, ast.Import | ast.ImportFrom) or "__all__" in _bound(node)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [] if node.name == "_" else [node.name]  # `_` is registered with something and then forgotten
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
