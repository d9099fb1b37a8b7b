"""What an emitted module needs of the runtime: the definitions that its names lead to, and theirs, and so on.

A class of problems that a module never makes needs no solver, no adjoint and no diagnosis. Which classes it makes
instances of is found as the least fixed point: none at first, and then every one that is still named when the tests for
the others, and their entries in registries, are folded.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from declarative.codegen.standalone.folding import fold
from declarative.codegen.standalone.sources import (
    EMITTED,
    Definition,
    External,
    Internal,
    Module,
    resolve,
    runtime_module,
)
from declarative.codegen.standalone.text import OPERATORS, parsed

KINDS = tuple(Internal("declarative.runtime.problem", name) for name in ("Problem", "Solver", "Adjoint"))
"""The bases of the classes that only some layers have instances of."""
LIBRARY = "declarative.runtime.native.library"
KERNELS = Internal(LIBRARY, "serves")
"""The function that tells whether compiled kernels take a call; others of the name ask it."""

IN_TORCH = {
    Internal("declarative.runtime.solvers.native_interior_point", "NativeInteriorPoint"): Internal(
        "declarative.runtime.solvers.interior_point", "InteriorPoint"
    ),
    Internal("declarative.runtime.adjoints.native_active_set", "NativeActiveSetAdjoint"): Internal(
        "declarative.runtime.adjoints.active_set", "ActiveSetAdjoint"
    ),
}
"""What stands for a class that calls the compiled kernels."""

NO_LIBRARY = '''def library() -> None:
    """The compiled kernels are no part of this file: torch serves."""
'''


@dataclass(frozen=True)
class Reached:
    """``definitions``: what is needed, with its text folded. ``modules``: where it comes from, in order of loading."""

    definitions: tuple[Definition, ...]
    modules: tuple[str, ...]


def reach(emitted: Module) -> Reached:
    """Everything that the emitted module leads to, itself included."""
    made: frozenset[Internal] = frozenset()
    while True:
        found = _Search(emitted, made).run()
        now = frozenset(t for t in found if t.module != EMITTED and is_kind(t))
        if now == made:
            break
        made = now
    order = _order(emitted)
    definitions = sorted(set(found.values()), key=lambda d: (order.index(d.module), d.position))
    used = {d.module for d in definitions}
    return Reached(tuple(definitions), tuple(m for m in order if m in used))


class _Search:
    """One walk, given the classes that have instances."""

    def __init__(self, emitted: Module, made: frozenset[Internal]) -> None:
        self.emitted, self.made = emitted, made
        self.found: dict[Internal, Definition] = {}

    def run(self) -> dict[Internal, Definition]:
        for definition in self.emitted.definitions:
            self._take(self.emitted, definition)
        return self.found

    def _take(self, module: Module, definition: Definition) -> None:
        keys = [Internal(module.name, name) for name in definition.names]
        keys = keys or [Internal(module.name, f"<{definition.position}>")]
        if keys[0] in self.found:
            return
        folded = replace(definition, source=self._folded(module, definition))
        self.found.update(dict.fromkeys(keys, folded))
        for target in references(module, folded.source):
            home = module_of(self.emitted, target.module)
            found = home.defining(target.name) if target.name is not None else None
            if found is not None:
                self._take(home, found)
        for operator in parsed(folded.source).operators:
            name = f"{OPERATORS}::{operator.attr}"
            for other in module.definitions:
                if any(constant.value == name for constant in parsed(other.source).registered):
                    self._take(module, other)
        for other in module.definitions:  # statements for the sake of their effect on what was taken
            if not other.names and keys[0] in references(module, other.source):
                self._take(module, other)

    def _folded(self, module: Module, definition: Definition) -> str:
        if definition.module == EMITTED:
            return definition.source
        if (definition.module, definition.names) == (LIBRARY, ("library",)):
            return NO_LIBRARY

        def absent(expression: ast.expr) -> bool:
            target = target_of(module, expression)
            return isinstance(target, Internal) and target not in self.made and is_kind(target)

        return fold(definition.source, absent, lambda called: self._never(module, called))

    def _never(self, module: Module, called: ast.expr) -> bool:
        """Whether a call answers no: it asks for a compiled kernel, or ``serves`` of a class that has no instances."""
        target = target_of(module, called)
        if isinstance(target, Internal) and target.name == "serves":
            return target == KERNELS or self._refuses(target, of_class=False)
        if isinstance(called, ast.Attribute) and called.attr == "serves":
            owner = target_of(module, called.value)
            if isinstance(owner, Internal) and owner not in self.made and is_kind(owner):
                return self._refuses(owner, of_class=True)
        return False

    def _refuses(self, target: Internal, *, of_class: bool) -> bool:
        """Whether a function, or ``serves`` of a class, has one answer, which is no."""
        home = module_of(self.emitted, target.module)
        definition = home.defining(target.name) if target.name is not None else None
        if definition is None:
            return False
        body = parsed(self._folded(home, definition)).tree.body
        if of_class:
            body = [s for node in body if isinstance(node, ast.ClassDef) for s in node.body]
        serves = next((s for s in body if isinstance(s, ast.FunctionDef) and s.name == "serves"), None)
        answers = [n for n in ast.walk(serves) if isinstance(n, ast.Return)] if serves is not None else []
        return bool(answers) and all(ast.unparse(answer) == "return False" for answer in answers)


def references(module: Module, source: str) -> list[Internal]:
    """The names of the runtime that a text leads to."""
    found = (named(module, expression)[1] for expression in parsed(source).own)
    return [target for target in found if isinstance(target, Internal)]


def named(module: Module, expression: ast.expr) -> tuple[ast.expr, Internal | External | None]:
    """What a name of a module with its attribute stands for, and how much of the expression that is."""
    target = target_of(module, expression)
    if target is None and isinstance(expression, ast.Attribute):
        return expression.value, target_of(module, expression.value)
    return expression, target


def target_of(module: Module, expression: ast.expr) -> Internal | External | None:
    """What a name, or an attribute of a module, stands for; None where it is nothing of the module's."""
    match expression:
        case ast.Name(id=name):
            if module.defining(name) is not None:
                return Internal(module.name, name)
            found = module.imports.get(name)
            target = resolve(found) if isinstance(found, Internal) else found
            return IN_TORCH.get(target, target) if isinstance(target, Internal) else target
        case ast.Attribute(value=ast.Name() as value, attr=attribute):
            owner = target_of(module, value)
            if isinstance(owner, Internal) and owner.name is None:
                return resolve(Internal(owner.module, attribute))
    return None


def module_of(emitted: Module, name: str) -> Module:
    """A module of the runtime, or the emitted one."""
    module = emitted if name == EMITTED else runtime_module(name)
    if module is None:
        raise LookupError(f"the runtime has no module {name}")
    return module


@cache
def is_kind(target: Internal) -> bool:
    """Whether a name is a class of problems, of solvers or of adjoints."""
    module = runtime_module(target.module)
    definition = module.defining(target.name) if module is not None and target.name is not None else None
    if module is None or definition is None or target in KINDS:
        return False
    node = parsed(definition.source).tree.body[0]
    bases = [target_of(module, base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
    return any(base in KINDS or (isinstance(base, Internal) and is_kind(base)) for base in bases)


def _order(emitted: Module) -> list[str]:
    """Modules such that each stands after those it imports when it is loaded; the emitted one is the last."""
    order: list[str] = []
    seen = {EMITTED}
    later = [emitted]

    def visit(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        module = module_of(emitted, name)
        for before in _homes(module.first):
            visit(before)
        order.append(name)
        later.append(module)

    for module in later:
        for name in (*_homes(module.first), *_homes(module.imports.values())):
            visit(name)
    return [*order, EMITTED]


def _homes(targets: Iterable[Internal | External]) -> Iterator[str]:
    """The modules that names are defined in."""
    for target in targets:
        found = resolve(target) if isinstance(target, Internal) else None
        if isinstance(found, Internal):
            yield found.module
