"""Renaming: every occurrence of one thing, and why a new name would not do."""

from __future__ import annotations

import re

from declarative.diagnostics.span import Span
from declarative.ir.words import RESERVED
from declarative.lsp.document import Document
from declarative.lsp.occurrences import RENAMABLE, Occurrence


class RenameError(Exception):
    """A name cannot be changed, or not to that."""


def renamable(document: Document, offset: int) -> Occurrence:
    """The name at a position, if the program made it. Raises `RenameError`."""
    occurrence = document.at(offset)
    if occurrence is None:
        raise RenameError("there is no name here")
    if occurrence.kind not in RENAMABLE or document.declaration(occurrence) is None:
        raise RenameError(f"`{occurrence.name}` is not declared in this program")
    return occurrence


def rename(document: Document, offset: int, name: str) -> list[Span]:
    """Where the new name goes. Raises `RenameError` where it is no name, a word of the language, or taken."""
    occurrence = renamable(document, offset)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise RenameError(f"`{name}` is not a name: it has letters, digits and `_`, and does not start with a digit")
    if name in RESERVED:
        raise RenameError(f"`{name}` is a word of the language")
    space = _namespace(occurrence)
    if any(
        o.name == name and o.declares and _namespace(o) == space
        for o in document.occurrences
        if name != occurrence.name
    ):
        raise RenameError(f"`{name}` is already declared in this program")
    return [o.span for o in document.same(occurrence)]


def _namespace(occurrence: Occurrence) -> str:
    """Names of one namespace must differ. Indices share theirs with all that expressions may use."""
    return occurrence.kind if occurrence.kind in ("constraint", "output", "layer", "port") else "expression"
