"""What can be typed at a position: statements at the start of a line, then what the statement takes there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from declarative.atoms import ATOMS
from declarative.diagnostics.span import Span
from declarative.frontend import syntax
from declarative.frontend.declarations import BINDINGS
from declarative.frontend.lines import open_brackets
from declarative.frontend.scope import FUNCTIONS
from declarative.ir.expression import ATTRIBUTES, Expression
from declarative.lsp import words
from declarative.lsp.document import Document
from declarative.lsp.hover import atom_text, facts, signature

Kind = Literal[
    "keyword", "function", "dim", "param", "var", "let", "extern", "index", "constraint", "attribute", "option"
]

DECLARATIONS = ("dim", "param", "var", "let", "extern")
OBJECTIVES = ("minimize", "maximize", "solve")


@dataclass(frozen=True)
class Completion:
    """``detail`` stands beside the label, and ``call`` says that parentheses follow it."""

    label: str
    kind: Kind
    detail: str = ""
    documentation: str = ""
    call: bool = False


def complete(document: Document, offset: int) -> list[Completion]:
    """Everything that fits at a position, whatever letters are typed already."""
    before = _statement_before(document.source.text, offset)
    if before is None:
        return []
    written = re.sub(r"[A-Za-z_]\w*$", "", before)
    return list(_fitting(document, written, offset))


def _statement_before(text: str, offset: int) -> str | None:
    """The statement's text before a position, brackets that continue it over lines included; None in comments."""
    brackets = open_brackets(text, offset)
    start = text.rfind("\n", 0, brackets[0].position if brackets else offset) + 1
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    outside = re.sub(r'"[^"]*"', '""', line)
    if "#" in outside or outside.count('"') % 2:
        return None
    while start > 0 and re.search(
        r"(<=|>=|==|\.\.|->|[-+*/@^,=])\s*(#.*)?$", text[:start].rstrip("\n").rsplit("\n", 1)[-1]
    ):
        start = text.rfind("\n", 0, start - 1) + 1
    return re.sub(r"#[^\n]*", "", text[start:offset])


def _fitting(document: Document, written: str, offset: int) -> Iterator[Completion]:
    words_before = written.split()
    first = words_before[0] if words_before else ""
    inside = _inside(written)
    if not written.strip():
        yield from _statements(document, offset)
    elif first in ("param", "var", "extern") and inside != "[" and not re.search(r"\bfrom\b|=", written):
        if len(words_before) > 1 and inside is None:
            yield from _tail(first)
    elif first in ("layer", "dim") or (first == "option" and "=" in written):
        return
    elif first == "option":
        yield from (Completion(name, "option", documentation=doc) for name, doc in words.OPTIONS.items())
    elif first == "let" and "=" not in written:
        return
    elif inside == "[" or re.search(r"\bin\s+([^,]*\.\.)?\s*$|\.\.\s*$", written):
        yield from _symbols(document, offset, ("dim", "index"))
        if re.search(r"^[^(\[]*\bin\s*$", written) and first != "let":
            yield Completion("psd", "keyword", "cone", "The cone of positive semidefinite matrices.")
    elif re.search(r"\bdual\(\s*$", written):
        yield from _constraints(document)
    elif first == "output":
        yield from _expressions(document, offset)
        yield from (
            Completion(w, "keyword", documentation=words.KEYWORDS[w], call=w == "dual") for w in ("dual", "value")
        )
    else:
        yield from _expressions(document, offset)
        if first in ("minimize", "maximize") and len(words_before) == 1:
            yield Completion("locally", "keyword", documentation=words.KEYWORDS["locally"])


def _inside(written: str) -> str | None:
    """The innermost bracket that is open at the end of a text."""
    brackets = open_brackets(written, len(written))
    return brackets[-1].text if brackets else None


def _statements(document: Document, offset: int) -> Iterator[Completion]:
    """The statements that may begin here, and expressions where constraints stand."""
    above = [s for s in document.file.statements if s.span.end < offset]
    objective = next((s for s in above if isinstance(s, syntax.ObjectiveStatement)), None)
    header = any(isinstance(s, syntax.SubjectTo) for s in above)
    ended = any(isinstance(s, syntax.OutputStatement | syntax.OptionStatement) for s in above)
    if not any(isinstance(s, syntax.LayerHead) for s in document.file.statements):
        yield from _keywords(("layer",))
    if objective is None:
        yield from _keywords((*DECLARATIONS, *OBJECTIVES))
        return
    if objective.sense != "solve" and not header and not ended:
        yield Completion("subject to", "keyword", documentation=words.KEYWORDS["subject"])
    yield from _keywords(("output", "option"))
    if (header or objective.sense == "solve") and not ended:
        yield from _expressions(document, offset)


def _keywords(names: Iterable[str]) -> Iterator[Completion]:
    return (Completion(name, "keyword", documentation=words.KEYWORDS[name]) for name in names)


def _tail(kind: str) -> Iterator[Completion]:
    """What follows the name and shape of a declaration."""
    names = {"param": (*BINDINGS, *ATTRIBUTES), "var": ATTRIBUTES, "extern": ("smooth",)}[kind]
    yield from (Completion(name, "attribute", documentation=words.ATTRIBUTES[name]) for name in names)
    if kind == "var":
        yield from _keywords(("from",))


def _expressions(document: Document, offset: int) -> Iterator[Completion]:
    """The names and functions that an expression may use."""
    yield from _symbols(document, offset, ("param", "var", "let", "extern", "dim", "index"))
    for name in (name for name in FUNCTIONS if name not in document.scope.names):
        yield Completion(name, "function", signature(ATOMS[name]), atom_text(ATOMS[name]), call=True)


def _symbols(document: Document, offset: int, kinds: tuple[str, ...]) -> Iterator[Completion]:
    seen: set[str] = set()
    if "index" in kinds:
        # The statement that is being typed seldom parses, and its indices are bound behind the cursor.
        line = document.source.lines[Span(document.source, offset, offset).line - 1]
        seen.update(re.findall(r"(?:\bfor|,)\s+([A-Za-z_]\w*)\s+in\b", line))
        yield from (Completion(name, "index", "index") for name in sorted(seen))
    for occurrence in document.occurrences:
        kind, name = occurrence.kind, occurrence.name
        scope = occurrence.scope
        known = scope is None or scope.start <= offset <= scope.end
        if not occurrence.declares or kind not in kinds or name in seen or not known:
            continue
        seen.add(name)
        entry = document.scope.names.get(name)
        value = entry.value if entry is not None else None
        detail = facts(value) if isinstance(value, Expression) else kind
        doc = getattr(value, "doc", None) or ""
        yield Completion(name, kind, detail, doc, call=kind == "extern")  # type: ignore[arg-type]


def _constraints(document: Document) -> Iterator[Completion]:
    for statement in document.file.statements:
        if isinstance(statement, syntax.ConstraintStatement) and statement.name is not None:
            yield Completion(statement.name.text, "constraint", statement.span.text)
