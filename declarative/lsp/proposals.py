"""The edits that a diagnostic's help may mean, likely ones first; which of them work is tried out in `fixes`.

A help that is code stands in place of what the diagnostic points at, or of the statement around it. Others are inserted
or removed, as their words say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.diagnostics.span import Source, Span
from declarative.frontend import syntax
from declarative.frontend.foreign import STATEMENTS
from declarative.frontend.parser import parse
from declarative.frontend.scope import FUNCTIONS
from declarative.lsp.document import Document


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


Rule = Callable[[Document, Diagnostic, Span, str], Iterator[Fix]]

MARKS = {"**": "^", ".T": "'", "//": "#", "%": "#"}
"""What stands for a refused mark; the help shows the whole expression instead."""


REPLACED = {"in", "for", "range", "minimize", "maximize", "nsd", "nonneg", "nonpos", *STATEMENTS}
"""Words that the code of a help need not repeat."""


def proposals(document: Document, diagnostic: Diagnostic) -> Iterator[Fix]:
    """The edits to try, in order."""
    help, primary = diagnostic.help, diagnostic.primary
    if help is None or primary is None or primary.span.source != document.source:
        return
    for rule in RULES:
        yield from rule(document, diagnostic, primary.span, help)


def _mark(document: Document, diagnostic: Diagnostic, at: Span, help: str) -> Iterator[Fix]:
    """A mark of another language."""
    if at.text in MARKS:
        yield replacement(at, MARKS[at.text], blanks=at.text in ("**", ".T"))
    elif not at.text.isascii() and len(help.removeprefix("write ").split()) == 1:
        yield replacement(at, help.removeprefix("write "))
    elif at.text == ".":
        number = {"0.5": "0.", "1.0, or 1": ".0"}.get(help)
        if number:
            yield replacement(at, number)
    elif at.text == "'":
        quoted = re.compile(r"'([^'\"\n]*)'").match(at.source.text, at.start)
        if quoted and help == '"..."':
            yield replacement(Span(at.source, at.start, quoted.end()), f'"{quoted[1]}"')


def _quoted(document: Document, diagnostic: Diagnostic, at: Span, help: str) -> Iterator[Fix]:
    """``did you mean `lasso`?``, ``write `<=```, ``close it with `)```."""
    quoted = re.fullmatch(r"(?:did you mean|write|close it with) `([^`]+)`\??", help)
    if quoted and help.startswith("close"):
        yield insertion(Span(at.source, at.end, at.end) if at.text.startswith('"') else line_end(at), quoted[1])
    elif quoted:
        yield replacement(at, quoted[1])
        yield from _of_line(document, at, quoted[1])
    elif "write `minimize locally`" in help:
        for statement in document.file.statements:
            if isinstance(statement, syntax.ObjectiveStatement) and not statement.local:
                end = statement.span.start + len(statement.sense)
                yield insertion(Span(at.source, end, end), " locally")


def _removed(document: Document, diagnostic: Diagnostic, at: Span, help: str) -> Iterator[Fix]:
    """``remove it``, ``use it, or remove it``, ``remove `from```."""
    if help in ("remove it", "remove one"):
        blank = at.source.text[at.start - 1 : at.start] == " "
        for start in (at.start - blank, at.start):
            yield Fix(f"remove `{at.text}`", Span(at.source, start, at.end), "")
    elif help in ("use it, or remove it", "remove this line"):
        yield from _statement_removed(document, at)
    elif help.startswith("remove `from`"):
        start = at.source.text.rfind("from", 0, at.start)
        yield Fix(f"remove `from {at.text}`", Span(at.source, len(at.source.text[:start].rstrip()), at.end), "")


def _inserted(document: Document, diagnostic: Diagnostic, at: Span, help: str) -> Iterator[Fix]:
    """What is missing: a header, a comma, a layer's name, a start, a default, a promise."""
    if "`subject to`" in help:
        yield insertion(line_start(at), "subject to\n")
    if at.text == "subject to":
        start = len(at.source.text[: at.start].rstrip())
        rest = len(at.source.text) - len(at.source.text[at.end :].lstrip(" :"))
        yield Fix("put `subject to` on a line of its own", Span(at.source, start, rest), "\nsubject to\n  ")
    if diagnostic.message.startswith("a comma is missing"):
        yield insertion(Span(at.source, at.start, at.start), ",")
    if help.startswith("layer "):
        yield insertion(Span(at.source, 0, 0), f"{help}\n")
    if from_here := re.match(r"var [^,]*( from [^,]+)", help):
        yield insertion(Span(at.source, at.end, at.end), from_here[1])
    if default := re.search(r"\bdim \w+( = \d+)", help):
        yield insertion(Span(at.source, at.end, at.end), default[1])
    if help.startswith("add `smooth`") and diagnostic.secondary:
        statement = document.statement(diagnostic.secondary[0].span.start)
        if statement is not None:
            yield insertion(Span(at.source, statement.span.end, statement.span.end), " smooth")
    if help.startswith("write `*` for a multiple"):
        yield from (insertion(Span(at.source, at.start, at.start), text) for text in ("* ", "@ "))
    yield from _declarations(document, help)


def _renamed(document: Document, diagnostic: Diagnostic, at: Span, help: str) -> Iterator[Fix]:
    """Another name for what has a taken one, for a function or an index: ``norm1(x)`` for ``l1(A @ y)``."""
    if another := re.fullmatch(r"choose another name, for instance (\w+)", help):
        yield from _everywhere(document, at, another[1])
    if diagnostic.code == "E204":
        for name in re.findall(r"\b(\w+)\(", help):
            if name in FUNCTIONS:
                yield replacement(at, name)
    if last := re.fullmatch(r"the last entry is (.+)", help):
        yield replacement(at, last[1])
    if indexed := re.match(r"index with brackets, (\w+\[.*?\]), or", help):
        end = at.source.text.find(")", at.end) + 1
        yield replacement(Span(at.source, at.start, end), indexed[1])


def _everywhere(document: Document, at: Span, name: str) -> Iterator[Fix]:
    """A name replaced wherever it means the same, as one edit."""
    occurrence = document.at(at.start)
    if occurrence is None:
        return
    spans = sorted((o.span.start, o.span.end) for o in document.same(occurrence))
    text, source = "", at.source.text
    for (start, end), (following, _) in zip(spans, [*spans[1:], (spans[-1][1], 0)], strict=True):
        text += name + source[end:following] if start != following else ""
    yield Fix(f"rename to `{name}`", Span(at.source, spans[0][0], spans[-1][1]), text)


def _code(document: Document, diagnostic: Diagnostic, at: Span, help: str) -> Iterator[Fix]:
    """A help that is code, for what the diagnostic points at or for the line around it."""
    for text in _codes(help):
        if _names(at.text) <= _names(text):
            yield replacement(at, text)
        value, _, name = text.rpartition(" as ")
        assigned = re.compile(rf"\b{re.escape(name)}\s*=\s*{re.escape(value)}")
        if value and (written := assigned.search(at.source.text, line_start(at).start)):
            yield replacement(Span(at.source, written.start(), written.end()), text)
        yield from _of_line(document, at, text)


def _of_line(document: Document, at: Span, text: str) -> Iterator[Fix]:
    """``text`` for the code of the line, or for what follows its name or its keyword, if no other name is lost."""
    source = at.source
    start, end = line_start(at).start, line_end(at).end
    code = source.text[start:end]
    bodies = [re.compile(pattern) for pattern in (r"\s*", r"\s*\w+\s*:\s*", r"\s*output\s+", r".*?(?=\bfor\b)")]
    for begin in sorted({match.end() for body in bodies if (match := body.match(code))}):
        span = Span(source, start + begin, end)
        lost = {name for name in _names(span.text) if name.lower() not in REPLACED}
        if text == "subject to" or lost <= _names(text):
            yield replacement(span, text)


RULES: tuple[Rule, ...] = (_mark, _quoted, _removed, _inserted, _renamed, _code)


def _codes(help: str) -> Iterator[str]:
    """The parts of a help that are code."""
    for part in re.split(r"; |, or (?=[^)]*(?:\(|$))", help):
        for text in (part, part.removeprefix("write "), part.split(": ", 1)[-1], part.split(", for ", 1)[0]):
            if _is_code(text):
                yield text
                break


def _is_code(text: str) -> bool:
    """Whether a text is a statement or an expression, and more than a word."""
    if text == "subject to" or "..." in text or re.fullmatch(r"\w+", text):
        return text == "subject to"
    for program in (f"layer l\n{text}\n", f"layer l\nminimize 0\nsubject to\n{text}\n", f"layer l\nminimize {text}\n"):
        file, found = parse(Source("help", program))
        if file is not None and not found:
            return True
    return re.fullmatch(r"\w+\.\.[\w+-]+|.+ as \w+|for \w+ in \S+", text) is not None


def _names(text: str) -> frozenset[str]:
    """The names in a piece of code that are not functions."""
    return frozenset(re.findall(r"\b[A-Za-z_]\w*", text, re.ASCII)) - frozenset(FUNCTIONS)


def replacement(span: Span, text: str, blanks: bool = False) -> Fix:
    """``text`` for what stands there, with the blanks around it if so told."""
    source = span.source.text
    start, end = span.start, span.end
    while blanks and source[start - 1] == " ":
        start -= 1
    while blanks and source[end : end + 1] == " ":
        end += 1
    return Fix(f"replace `{span.text}` by `{text}`", Span(span.source, start, end), text)


def insertion(span: Span, text: str) -> Fix:
    return Fix(f"insert `{text.strip()}`", span, text)


def line_start(span: Span) -> Span:
    start = span.source.line_starts[span.line - 1]
    return Span(span.source, start, start)


def line_end(span: Span) -> Span:
    """Behind the code of the line that a span ends on."""
    source, line = span.source, Span(span.source, max(span.end - 1, span.start), span.end).line
    code = re.match(r'([^"#\n]|"[^"\n]*")*', source.lines[line - 1])
    end = source.line_starts[line - 1] + len(code[0].rstrip() if code else "")
    return Span(source, end, end)


def _statement_removed(document: Document, at: Span) -> Iterator[Fix]:
    """The lines of the statement, unless it declares other things too."""
    source, statement = at.source, document.statement(at.start)
    if statement is None or (isinstance(statement, syntax.DimensionDeclaration) and len(statement.items) > 1):
        return
    last = Span(source, max(statement.span.end - 1, 0), statement.span.end).line
    end = source.line_starts[last] if last < len(source.lines) else len(source.text)
    yield Fix(f"remove `{statement.span.text}`", Span(source, line_start(statement.span).start, end), "")


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
    return insertion(Span(source, at, at), f"{text}\n")
