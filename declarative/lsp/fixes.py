"""Quick fixes: the help of a diagnostic, typed in.

A help is written for people, so what it says to type is tried out: an edit is offered only if the diagnostic is gone
after it, and nothing of its kind or of an earlier stage has come up instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.diagnostics.span import Source, Span
from declarative.frontend import check, syntax
from declarative.frontend.parser import parse
from declarative.frontend.scope import FUNCTIONS
from declarative.lsp.document import Document

MARKS = {"**": "^", ".T": "'"}
"""What stands for a refused mark; the help shows the whole expression instead."""


@dataclass(frozen=True)
class Fix:
    """``text`` in place of a span. ``preferred``: the only fix of its diagnostic."""

    title: str
    span: Span
    text: str
    preferred: bool = False

    def applied(self) -> str:
        source = self.span.source.text
        return source[: self.span.start] + self.text + source[self.span.end :]


def fixes(document: Document, diagnostic: Diagnostic) -> list[Fix]:
    """The edits that a diagnostic's help comes to, those that work."""
    tried: set[tuple[int, int, str]] = set()
    found: list[Fix] = []
    for fix in _candidates(document, diagnostic):
        key = (fix.span.start, fix.span.end, fix.text)
        if key not in tried and fix.span.text != fix.text:
            tried.add(key)
            found += [fix] if _works(document, diagnostic, fix) else []
    if len(found) == 1:
        return [Fix(found[0].title, found[0].span, found[0].text, preferred=True)]
    return found


def _works(document: Document, diagnostic: Diagnostic, fix: Fix) -> bool:
    source = Source(document.source.name, fix.applied())
    if len(parse(source)[1]) > len(parse(document.source)[1]):
        return False
    before, after = document.diagnostics, check(source.text, source.name)
    if _count(after, diagnostic) >= _count(before, diagnostic):
        return False
    groups = [code for code in ("E0", "E1", "E2") if code <= diagnostic.code[:2]]
    own = diagnostic.code[:2]
    return all(_errors(after, g) <= _errors(before, g) for g in groups) and _errors(after, own) < _errors(before, own)


def _count(diagnostics: Sequence[Diagnostic], like: Diagnostic) -> int:
    return sum((d.code, d.message) == (like.code, like.message) for d in diagnostics)


def _errors(diagnostics: Sequence[Diagnostic], group: str) -> int:
    return sum(d.code.startswith(group) for d in diagnostics)


def _candidates(document: Document, diagnostic: Diagnostic) -> Iterator[Fix]:
    help, primary = diagnostic.help, diagnostic.primary
    if help is None or primary is None or primary.span.source != document.source:
        return
    at = primary.span
    if at.text in MARKS:
        yield _replacement(at, MARKS[at.text], blanks=True)
        return
    if quoted := re.fullmatch(r"(?:did you mean|write|close it with) `([^`]+)`\??", help):
        closes = help.startswith("close")
        yield _insertion(_line_end(at), quoted[1]) if closes else _replacement(at, quoted[1])
        return
    if help in ("remove it", "remove one"):
        start = at.start - (at.source.text[at.start - 1 : at.start] == " ")
        yield Fix(f"remove `{at.text}`", Span(at.source, start, at.end), "")
        return
    if help in ("use it, or remove it", "remove this line"):
        yield from _removal(document, at)
        return
    if "`subject to`" in help:
        yield _insertion(_line_start(at), "subject to\n")
    yield from _declarations(document, help)
    for text in (help.removeprefix("write "), help.split(": ", 1)[-1]):
        if _is_code(text) and _names(at.text) <= _names(text):
            yield _replacement(at, text)


def _is_code(text: str) -> bool:
    """Whether a text is to be typed, not read: no two words in a row, and nothing left out."""
    words = re.findall(r"(\w+) +(?=(\w+))", text)
    return "..." not in text and all({"as", "for", "in"} & {*pair} for pair in words)


def _names(text: str) -> frozenset[str]:
    """The names in a piece of code that are not functions."""
    return frozenset(re.findall(r"\b[A-Za-z_]\w*", text, re.ASCII)) - frozenset(FUNCTIONS)


def _replacement(span: Span, text: str, blanks: bool = False) -> Fix:
    """``text`` for what stands there, with the blanks around it if so told."""
    source = span.source.text
    start, end = span.start, span.end
    while blanks and source[start - 1] == " ":
        start -= 1
    while blanks and source[end : end + 1] == " ":
        end += 1
    return Fix(f"replace `{span.text}` by `{text}`", Span(span.source, start, end), text)


def _insertion(span: Span, text: str) -> Fix:
    return Fix(f"insert `{text.strip()}`", span, text)


def _line_start(span: Span) -> Span:
    start = span.source.line_starts[span.line - 1]
    return Span(span.source, start, start)


def _line_end(span: Span) -> Span:
    source, line = span.source, Span(span.source, max(span.end - 1, span.start), span.end).line
    code = re.match(r'([^"#\n]|"[^"\n]*")*', source.lines[line - 1])
    end = source.line_starts[line - 1] + len(code[0].rstrip() if code else "")
    return Span(source, end, end)


def _removal(document: Document, at: Span) -> Iterator[Fix]:
    """The lines of the statement, unless it declares other things too."""
    source, statement = at.source, document.statement(at.start)
    if statement is None or (isinstance(statement, syntax.DimensionDeclaration) and len(statement.items) > 1):
        return
    last = Span(source, max(statement.span.end - 1, 0), statement.span.end).line
    end = source.line_starts[last] if last < len(source.lines) else len(source.text)
    yield Fix(f"remove `{statement.span.text}`", Span(source, _line_start(statement.span).start, end), "")


def _declarations(document: Document, help: str) -> Iterator[Fix]:
    """Declarations that a help spells out: a new one above the objective, or attributes for one that is there."""
    for match in re.finditer(r"\b(dim|param|var) (\w+)(\[[^\]]*\])?((?: \w+)*)$|\b(param|dim) (\w+), ", help):
        kind, name = match[1] or match[5], match[2] or match[6]
        entry = document.scope.names.get(name)
        if entry is None:
            yield _new_declaration(document, kind, f"{kind} {name}{match[3] or ''}{match[4] or ''}")
            continue
        statement = document.statement(entry.span.start)
        if isinstance(statement, syntax.SymbolDeclaration):
            known = [attribute.text for attribute in statement.attributes]
            added = [word for word in (match[4] or "").split() if word not in known]
            if added:
                text = " ".join(added)
                place = Span(entry.span.source, entry.span.end, entry.span.end)
                yield Fix(f"declare `{name}` as `{text}`", place, f" {text}")


def _new_declaration(document: Document, kind: str, text: str) -> Fix:
    """A line below the last declaration of its kind, else below the layer's name."""
    kinds = (syntax.DimensionDeclaration,) if kind == "dim" else (syntax.SymbolDeclaration,)
    declared = [s for s in document.file.statements if isinstance(s, kinds)]
    alike = [s.span for s in declared if getattr(s, "kind", kind) == kind] or [s.span for s in declared]
    above = alike or [s.span for s in document.file.statements if isinstance(s, syntax.LayerHead)]
    source = document.source
    line = Span(source, above[-1].end, above[-1].end).line if above else 0
    at = source.line_starts[line] if line < len(source.lines) else len(source.text)
    return _insertion(Span(source, at, at), f"{text}\n")
