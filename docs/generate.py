"""Writes the pages that list what the registries hold: ``python docs/generate.py``.

``atoms.md``, ``structures.md`` and ``errors.md`` come from `ATOMS`, `STRUCTURES` and `CATALOGUE`, and so does the table
of structures in the README; a test keeps them up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from declarative.atoms import ATOMS, OPERATORS
from declarative.diagnostics.catalogue import CATALOGUE
from declarative.diagnostics.entry import Entry
from declarative.ir.atom import Atom
from declarative.ir.expression import Variable
from declarative.ir.shape import Size
from declarative.structures import STRUCTURES

DOCS = Path(__file__).parent
WRITTEN = "<!-- Written by docs/generate.py. Edit what it reads, not this file. -->"

BEGIN, END = "<!-- structures: written by docs/generate.py -->", "<!-- end of structures -->"

OPERATOR_FORMS = {
    "add": "x + y",
    "neg": "-x",
    "mul": "x * y",
    "div": "x / y",
    "matmul": "A @ B",
    "power": "x ^ p",
    "transpose": "A'",
}

GROUPS = {
    "E0": "Files",
    "E1": "Syntax",
    "E2": "Names and shapes",
    "E3": "Convexity",
    "E4": "Local problems and systems of equations",
    "E5": "Outputs and options",
    "E6": "Sizes and structure",
    "E7": "Data at run time",
}


def atoms() -> str:
    """The reference of the language's functions."""
    operators = [ATOMS[name] for name in OPERATORS]
    local = [atom for atom in ATOMS.values() if atom.local_only]
    constant = [atom for atom in ATOMS.values() if atom.parameters_only]
    rest = [a for a in ATOMS.values() if a not in operators and a not in local and a not in constant]
    parts = [
        "# Functions of the language",
        WRITTEN,
        "Curvature is that of the function itself in its arguments; whether an expression is convex follows by the "
        "composition rule (see [the language](language.md#what-is-convex)). *Smooth* functions are those that local "
        "problems and systems of equations may apply to variables. Of parameters alone, every function may be used "
        "anywhere: torch computes it before the solve.",
        "## Operators",
        _atom_table(operators),
        "## Functions",
        _atom_table(rest),
        "## Smooth functions for `locally` and `solve`",
        "These are neither convex nor concave, or have a convex twin above. They take variables under "
        "`minimize locally`, `maximize locally` and `solve` only.",
        _atom_table(local),
        "## Functions of parameters alone",
        _atom_table(constant),
    ]
    return "\n\n".join(parts) + "\n"


def _atom_table(atoms: Iterable[Atom]) -> str:
    rows = [
        (f"`{_signature(atom)}`", f"`{atom.formula}`", _curvature(atom), "yes" if atom.smooth else "", _cell(atom.doc))
        for atom in atoms
    ]
    return _table(("written", "value", "curvature", "smooth", "what it is"), rows)


def _signature(atom: Atom) -> str:
    if atom.name in OPERATORS:
        return OPERATOR_FORMS[atom.name]
    required = atom.arguments[: len(atom.arguments) - atom.optional]
    optional = "".join(f"[, {name}]" for name in atom.arguments[len(required) :])
    return f"{atom.name}({', '.join(required)}{optional}{', ...' if atom.variadic else ''})"


def _curvature(atom: Atom) -> str:
    """As the function says it of itself, asked with variables of a shape that fits; products depend on the data."""
    if atom.local_only or atom.parameters_only:
        return ""
    if atom.name in {"mul", "div", "matmul", "power", "outer"}:
        return "by argument"
    if atom.name == "quad_form":
        return "convex, P psd"
    return atom.intrinsic(*_sample(atom)).name.lower()


def _sample(atom: Atom) -> list[Variable]:
    n = Size(3)
    matrix = atom.arguments[0] in {"X", "A"}
    first = Variable("x", (n, n) if matrix else (n,), frozenset({"symmetric"}) if matrix else frozenset())
    others = [Variable(name, () if atom.name == "quad_over_lin" else (n,)) for name in atom.arguments[1:]]
    return [first, *(other for other in others if atom.optional == 0)]


def structures() -> str:
    """The structures that recognition tries, in order."""
    parts = [
        "# Structures",
        WRITTEN,
        "Recognition tries them in this order and takes the first that matches. Each reads the normal form of the "
        "program, not its spelling: renaming, reordering, scaling or shifting the objective changes nothing, and "
        "`declarative explain FILE.opt` says why each one above the match declined.",
        _table(
            ("", "structure", "what it is", "source"),
            [
                (str(i), f"`{s.name}`", _cell(s.doc), f"`{type(s).__module__.replace('.', '/')}.py`")
                for i, s in enumerate(STRUCTURES, 1)
            ],
        ),
        "How to add one is in [the architecture](architecture.md#a-structure).",
    ]
    return "\n\n".join(parts) + "\n"


def errors() -> str:
    """Every diagnostic, explained."""
    parts = [
        "# Diagnostics",
        WRITTEN,
        "Codes are stable and never reused. `declarative explain CODE` prints the same text. Codes that begin with W "
        "are warnings.",
    ]
    ordered = sorted(CATALOGUE.values(), key=lambda entry: (entry.code[1:], entry.code[0]))
    for group, entries in groupby(ordered, key=lambda entry: f"E{entry.code[1]}"):
        parts += [f"## {GROUPS[group]}", *(part for entry in entries for part in _entry(entry))]
    return "\n\n".join(parts) + "\n"


def _entry(entry: Entry) -> Iterator[str]:
    yield f"### {entry.code}: {entry.title}"
    yield entry.explanation
    for word, text in (("Wrong", entry.wrong), ("Right", entry.right)):
        if text:
            yield f"{word}:\n\n```text\n{text.strip()}\n```"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *(tuple(_escaped(cell) for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _cell(text: str) -> str:
    return " ".join(text.split())


def readme() -> str:
    """The README with its table of structures renewed."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    table = _table(("structure", "what it is"), [(f"`{s.name}`", _cell(s.doc)) for s in STRUCTURES])
    return f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


PAGES = {"../README.md": readme, "atoms.md": atoms, "structures.md": structures, "errors.md": errors}
"""File name to the function that writes it."""


def main() -> int:
    """Write the pages that have changed."""
    for name, page in PAGES.items():
        path, text = DOCS / name, page()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.resolve().relative_to(DOCS.parent.resolve()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
