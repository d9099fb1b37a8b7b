"""Quick fixes: the help of a diagnostic, typed in.

A help is written for people, so what it says to type is tried out: an edit is offered only if the diagnostic is gone
after it, and nothing of its kind or of an earlier stage has come up instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.diagnostics.span import Source
from declarative.frontend import check
from declarative.frontend.parser import parse
from declarative.lsp.document import Document
from declarative.lsp.proposals import Fix, proposals


def fixes(document: Document, diagnostic: Diagnostic) -> list[Fix]:
    """The edits that a diagnostic's help comes to, those that work."""
    tried: set[tuple[int, int, str]] = set()
    found: list[Fix] = []
    for fix in proposals(document, diagnostic):
        key = (fix.span.start, fix.span.end, fix.text)
        if key not in tried and fix.span.text != fix.text:
            tried.add(key)
            found += [fix] if _works(document, diagnostic, fix) else []
    if len(found) == 1:
        return [replace(found[0], preferred=True)]
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
    if any(_errors(after, group) > _errors(before, group) for group in groups):
        return False
    return _errors(after, own) < _errors(before, own) or (own == "E1" and _moves_on(before, after, fix))


def _moves_on(before: Sequence[Diagnostic], after: Sequence[Diagnostic], fix: Fix) -> bool:
    """Whether the parser, which stops at the first mistake of a statement, now stops at a later one."""
    known = {(d.code, d.message) for d in before}
    new = [d.primary.span.start for d in after if d.primary is not None and (d.code, d.message) not in known]
    return bool(new) and min(new) > fix.span.start + len(fix.text)


def _count(diagnostics: Sequence[Diagnostic], like: Diagnostic) -> int:
    return sum((d.code, d.message) == (like.code, like.message) for d in diagnostics)


def _errors(diagnostics: Sequence[Diagnostic], group: str) -> int:
    return sum(d.code.startswith(group) for d in diagnostics)
