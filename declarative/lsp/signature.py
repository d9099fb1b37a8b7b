"""Signature help: the call that the cursor is inside, and which of its arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass

from declarative.atoms import ATOMS
from declarative.frontend.lines import brackets, open_brackets
from declarative.frontend.scope import FUNCTIONS
from declarative.ir.expression import Extern
from declarative.ir.shape import show
from declarative.lsp.document import Document
from declarative.lsp.hover import signature


@dataclass(frozen=True)
class Signature:
    """``parameters`` are stretches of the label; ``active`` the one that is being typed."""

    label: str
    documentation: str
    parameters: tuple[tuple[int, int], ...]
    active: int


def signature_at(document: Document, offset: int) -> Signature | None:
    """The innermost call of a function or extern around a position."""
    text = document.source.text
    for bracket in reversed(open_brackets(text, offset)):
        called = re.search(r"([A-Za-z_]\w*)[ \t]*$", text[: bracket.position]) if bracket.text == "(" else None
        found = None if called is None else _of(document, called[1])
        if found is not None:
            label, documentation, names, variadic = found
            last = len(names) - 1
            position = _commas(text[bracket.position + 1 : offset])
            return Signature(label, documentation, _places(label, names), min(position, last) if variadic else position)
    return None


def _of(document: Document, name: str) -> tuple[str, str, tuple[str, ...], bool] | None:
    """Label, description and arguments of what a name calls, and whether the last argument may be repeated."""
    entry = document.scope.names.get(name)
    if entry is not None and isinstance(entry.value, Extern):
        extern = entry.value
        arguments = tuple(f"{argument} {show(shape)}" for argument, shape in extern.inputs)
        label = f"{name}({', '.join(arguments)}) -> {extern.output[0]} {show(extern.output[1])}"
        return label, extern.doc or "", arguments, False
    if entry is None and name in FUNCTIONS:
        atom = ATOMS[name]
        return signature(atom), f"{atom.doc}\n\n`{atom.formula}`", atom.arguments, atom.variadic
    return None


def _places(label: str, names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Where each argument stands in the label, which has them in order behind its bracket."""
    places, start = [], label.index("(")
    for name in names:
        start = re.compile(rf"(?<!\w){re.escape(name)}").search(label, start).start()  # type: ignore[union-attr]
        places.append((start, start + len(name)))
        start += len(name)
    return tuple(places)


def _commas(text: str) -> int:
    """The commas of a text outside of its own brackets, comments and strings."""
    depth, found, start = 0, 0, 0
    for bracket in (*brackets(text), None):
        end = len(text) if bracket is None else bracket.position
        if depth == 0:
            found += len(re.findall(r",", re.sub(r'#[^\n]*|"[^"\n]*"', "", text[start:end])))
        if bracket is not None:
            depth += 1 if bracket.text in "([" else -1
            start = bracket.position + 1
    return found
