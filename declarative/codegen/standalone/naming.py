"""One name for each definition in a file that holds them all: its own, unless another has it too."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping

from declarative.codegen.standalone.reach import Reached, named
from declarative.codegen.standalone.sources import EMITTED, External, Internal, Module
from declarative.codegen.standalone.text import NAMESPACE, parsed

Target = Internal | External


def names(reached: Reached, modules: Mapping[str, Module]) -> dict[Target, str]:
    """The name of every definition and of every import in the one file.

    The emitted module keeps all of its names. What the runtime calls as an attribute of a module, ``implicit.solve``,
    is ``implicit_solve``. Names that two modules have, or that the emitted module uses for something else, get the name
    of their module before them.
    """
    taken = {NAMESPACE, *_identifiers(reached, modules[EMITTED])}
    plain = {e: e.local for e in imported(reached, modules)}
    called = _called_through_modules(reached, modules)
    own = [Internal(d.module, name) for d in reached.definitions if d.module != EMITTED for name in d.names]
    count = Counter([*(t.name for t in own if t.name), *plain.values()])
    chosen: dict[Target, str] = {
        Internal(EMITTED, name): name for d in reached.definitions if d.module == EMITTED for name in d.names
    }
    for target in own:
        assert target.name is not None
        clashes = count[target.name] > 1 or target.name in taken
        name = _qualified(target) if clashes or target in called else target.name
        chosen[target] = _free(name, {*taken, *chosen.values()})
    for external, name in plain.items():
        chosen[external] = _free(name, {*taken, *chosen.values()})
    return chosen


def imported(reached: Reached, modules: Mapping[str, Module]) -> list[External]:
    """What the definitions use from outside, in a fixed order."""
    found = set()
    for definition in reached.definitions:
        module = modules[definition.module]
        for expression in parsed(definition.source).own:
            part, target = named(module, expression)
            if isinstance(target, External):
                found.add(target)
            elif isinstance(part, ast.Name):
                # `import scipy.sparse` binds `scipy`.
                found |= {e for e in _dotted(module) if e.module.partition(".")[0] == part.id}
    return sorted(found, key=lambda e: (e.module, e.name or "", e.local))


def _dotted(module: Module) -> list[External]:
    return [e for e in module.imports.values() if isinstance(e, External) and e.name is None and "." in e.local]


def _identifiers(reached: Reached, emitted: Module) -> set[str]:
    """Everything that the emitted module calls its own: the names that it defines, and those inside its methods."""
    own = {name for d in emitted.definitions for name in d.names}
    return own.union(*(parsed(d.source).hidden for d in reached.definitions if d.module == EMITTED))


def _called_through_modules(reached: Reached, modules: Mapping[str, Module]) -> set[Target]:
    found: set[Target] = set()
    for definition in reached.definitions:
        for expression in parsed(definition.source).own:
            part, target = named(modules[definition.module], expression)
            if isinstance(part, ast.Attribute) and isinstance(target, Internal) and target.name is not None:
                found.add(target)
    return found


def _qualified(target: Internal) -> str:
    """``_solve`` of ``implicit`` -> ``_implicit_solve``; ``TOLERANCE`` of ``clarabel`` -> ``CLARABEL_TOLERANCE``."""
    assert target.name is not None
    *_, folder, stem = target.module.split(".")
    if target.name.lower().startswith(stem):
        stem = folder
    if target.name.isupper():
        return f"{stem.upper()}_{target.name}"
    if target.name[:1].isupper():
        return f"{stem.title().replace('_', '')}{target.name}"
    return f"_{stem}{target.name}" if target.name.startswith("_") else f"{stem}_{target.name}"


def _free(name: str, taken: Iterable[str]) -> str:
    while name in taken:
        name += "_"
    return name
