"""The text of the one file: docstring, imports, a section for each module of the runtime, and the layer at the end."""

from __future__ import annotations

import ast
import hashlib
import sys
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence

from declarative.codegen.layout import last_bracket
from declarative.codegen.standalone.naming import Target, imported, names
from declarative.codegen.standalone.reach import module_of, named, reach
from declarative.codegen.standalone.sources import EMITTED, PACKAGE, External, Internal, Module, read
from declarative.codegen.standalone.text import NAMESPACE, OPERATORS, Text, parsed

LINE = 120
LICENSE = "Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0"


def standalone(source: str) -> str:
    """The text of an emitted module with what it uses of the runtime in it; it imports nothing of this package."""
    emitted = read(EMITTED, source)
    reached = reach(emitted)
    modules = {name: module_of(emitted, name) for name in reached.modules}
    chosen = names(reached, modules)
    imports = "from __future__ import annotations\n\n" + _imports(imported(reached, modules), chosen)
    sections = []
    for name in reached.modules:
        bodies = [
            _renamed(modules[name], d.source, chosen).strip("\n") for d in reached.definitions if d.module == name
        ]
        sections.append(_section(modules[name], bodies))
    if any(parsed(d.source).registered for d in reached.definitions):
        imports += "\n" + _namespace(source)
    body = f"{imports}\n" + "\n\n".join(sections)
    return f"{_header(emitted, packages(body))}\n{body.rstrip()}\n"


def _namespace(source: str) -> str:
    """The definition of the namespace of the file's operators.

    torch keeps operators by name for the whole process, and each file's know its own classes of problems. The source's
    hash tells files apart, the name under which the file is imported its copies.
    """
    own = f"{OPERATORS}_{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    return (
        f'{NAMESPACE} = "{own}_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in __name__)\n'
        '"""The namespace in ``torch.ops`` of the operators below: theirs alone, whatever else is imported."""\n'
    )


def packages(source: str) -> list[str]:
    """The packages that a module imports, besides the standard library; torch is the first."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return sorted(found - sys.stdlib_module_names, key=lambda name: (name != "torch", name))


def _header(emitted: Module, needed: Sequence[str]) -> str:
    """The docstring of the emitted module, with a paragraph on what this file is."""
    listed = " and ".join(filter(None, [", ".join(needed[:-1]), needed[-1]]))
    note = (
        f"Standalone: the layer is the last section, and what it uses of {PACKAGE} stands above it, a section for each "
        f"module, so that this file needs {listed} and no more. The compiled kernels are no part of it: torch does "
        f"their work, on the CPU more slowly. The sections of the runtime are under the {LICENSE}."
    )
    return f'"""{emitted.doc}\n' + "\n".join(["", *textwrap.wrap(note, LINE)]) + '\n"""\n'


def _imports(externals: Sequence[External], chosen: Mapping[Target, str]) -> str:
    """Import statements, the standard library's first."""
    groups: dict[bool, list[External]] = defaultdict(list)
    for external in externals:
        groups[external.module.partition(".")[0] not in sys.stdlib_module_names].append(external)
    return "\n".join(_group(groups[third], chosen) for third in sorted(groups))


def _group(externals: Sequence[External], chosen: Mapping[Target, str]) -> str:
    lines = []
    for e in externals:
        if e.name is None:
            local = chosen[e]
            lines.append(f"import {e.module}" if e.module == local else f"import {e.module} as {local}")
    by_module: dict[str, list[str]] = defaultdict(list)
    for e in externals:
        if e.name is not None:
            by_module[e.module].append(e.name if e.name == chosen[e] else f"{e.name} as {chosen[e]}")
    lines += [f"from {module} import {', '.join(_sorted(found))}" for module, found in sorted(by_module.items())]
    return "\n".join(lines) + "\n"


def _sorted(found: Sequence[str]) -> list[str]:
    """Constants, then classes, then functions."""
    return sorted(found, key=lambda n: (0 if n.isupper() and len(n) > 1 else 1 if n[0].isupper() else 2, n))


def _section(module: Module, bodies: Sequence[str]) -> str:
    if module.name == EMITTED:
        title, doc = "The layer", []
    else:
        title, doc = module.name.removeprefix(f"{PACKAGE}.").replace(".", "/"), [f'"""{module.doc}\n"""']
        doc = doc if "native" not in title else []  # it tells of the kernels, which are not there
    text = f"# {'-' * (100 - len(title))} {title}\n"
    after_block = False
    for body in (*doc, *bodies):
        block = _is_block(body)
        text += ("\n\n" if block or after_block else "\n") + body + "\n"
        after_block = block
    return text


def _is_block(body: str) -> bool:
    """Whether a statement is a class or a function, which has two blank lines around it."""
    last = ast.parse(body).body[-1]
    return isinstance(last, ast.FunctionDef | ast.ClassDef)


def _renamed(module: Module, source: str, chosen: Mapping[Target, str]) -> str:
    """The text of a definition with every name as it is called in the one file, its operators in their namespace."""
    text = parsed(source)
    edits = []
    for expression in text.own:
        part, target = named(module, expression)
        new = None if target is None else chosen.get(target)
        if isinstance(target, Internal) and target.name is not None and new is None:
            raise LookupError(f"{target.module}.{target.name} is used by {module.name}, but not found")
        old = text.of(part)
        if new is not None and new != old:
            if new in text.hidden:
                raise LookupError(f"`{new}`, for `{old}` of {module.name}, has another meaning in a function there")
            edits.append((*text.span(part), new))
    for node in text.tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name != "_":
            new = chosen[Internal(module.name, node.name)]
            if new != node.name:
                edits.append(_name_edit(text, node, new))
    for operator in text.operators:
        edits.append((*text.span(operator.value), f"getattr(torch.ops, {NAMESPACE})"))
    for name in text.registered:
        edits.append((*text.span(name), f'f"{{{NAMESPACE}}}::{str(name.value).partition("::")[2]}"'))
    return _fitted(text.replaced(edits)) if edits else source


def _fitted(source: str) -> str:
    """Lines that a longer name has made too long, with what stands in their last bracket on a line of its own."""
    lines = []
    for line in source.split("\n"):
        found = last_bracket(line) if len(line) > LINE and "# type:" not in line else None
        if found is None:
            lines.append(line)
            continue
        start, end = found
        indent = line[: len(line) - len(line.lstrip())]
        lines += [line[: start + 1], f"{indent}    {line[start + 1 : end].strip()}", f"{indent}{line[end:]}"]
    return "\n".join(lines)


def _name_edit(text: Text, node: ast.FunctionDef | ast.ClassDef, new: str) -> tuple[int, int, str]:
    """The change of the name after ``def`` or ``class``."""
    start, _ = text.span(node)
    word = b"class " if isinstance(node, ast.ClassDef) else b"def "
    begin = text.data.index(word, start) + len(word)
    return begin, begin + len(node.name.encode()), new
