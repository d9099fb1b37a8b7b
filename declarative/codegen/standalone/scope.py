"""Which names of a definition are those of its module: the scoping rules of Python over a syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def module_names(tree: ast.Module) -> Iterator[ast.Name]:
    """Every name in the statements of a module that is the module's own, in no order."""
    for statement in tree.body:
        yield from _free(statement, frozenset())


def locals_of(tree: ast.AST) -> frozenset[str]:
    """Every name that a function or comprehension inside binds for itself."""
    inner = (n for n in ast.walk(tree) if isinstance(n, Function | Comprehension))
    return frozenset(name for node in inner for name in _bound(node))


def _free(node: ast.AST, bound: frozenset[str]) -> Iterator[ast.Name]:
    if isinstance(node, ast.Name):
        if node.id not in bound:
            yield node
        return
    if isinstance(node, Function):
        # Decorators, defaults and annotations are evaluated outside.
        inside = list(node.body) if isinstance(node.body, list) else [node.body]
        outside = [c for c in ast.iter_child_nodes(node) if all(c is not i for i in inside)]
        for child in outside:
            yield from _free(child, bound)
        within = bound | _bound(node)
        for child in inside:
            yield from _free(child, within)
        return
    if isinstance(node, Comprehension):
        bound |= _bound(node)
    if isinstance(node, ast.ClassDef):
        yield from _free_of_class(node, bound)
        return
    for child in ast.iter_child_nodes(node):
        yield from _free(child, bound)


def _free_of_class(node: ast.ClassDef, bound: frozenset[str]) -> Iterator[ast.Name]:
    """Names that a class body binds are seen by its own statements, and not by its methods."""
    for child in (*node.bases, *node.keywords, *node.decorator_list):
        yield from _free(child, bound)
    own = frozenset(name for s in node.body if not isinstance(s, Function) for name in _stored(s))
    for statement in node.body:
        if isinstance(statement, Function | ast.ClassDef):
            yield from _free(statement, bound)
        elif isinstance(statement, ast.AnnAssign):
            # The annotation of a field may name the module's class that the field is called after.
            yield from _free(statement.annotation, bound)
            if statement.value is not None:
                yield from _free(statement.value, bound | own)
        else:
            yield from _free(statement, bound | own)


def _bound(node: ast.AST) -> frozenset[str]:
    """What a function or comprehension binds in its own scope."""
    if isinstance(node, Comprehension):
        return frozenset(name for g in node.generators for name in _stored(g.target))
    assert isinstance(node, Function)
    a = node.args
    arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x is not None)]
    names = {argument.arg for argument in arguments}
    if isinstance(node.body, list):
        for statement in node.body:
            names |= set(_stored(statement))
        names -= {n for s in ast.walk(node) if isinstance(s, ast.Global) for n in s.names}
    return frozenset(names)


def _stored(node: ast.AST) -> Iterator[str]:
    """Names bound by a statement, not descending into the scopes inside it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Lambda | Comprehension):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
        yield node.id
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (a.asname or a.name.partition(".")[0] for a in node.names)
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    for child in ast.iter_child_nodes(node):
        yield from _stored(child)
