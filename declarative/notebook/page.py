"""Programs and diagnostics as HTML, in the colours of the notebook's own theme."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from pygments.token import STANDARD_TYPES, _TokenType

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.diagnostics.render import render
from declarative.diagnostics.span import Source
from declarative.highlight import OptLexer

# A colour of the theme is mixed with that of the text: themes choose theirs for large areas and for their own
# background, and on a dark one some of them would be hard to read.
STYLE = """
.declarative { line-height: 1.4; max-width: 60em }
.declarative pre { margin: .4em 0; padding: .5em .8em; overflow-x: auto; line-height: 1.45;
  font-family: var(--jp-code-font-family, monospace); font-size: var(--jp-code-font-size, 13px);
  border-left: 3px solid var(--jp-border-color2, #8888);
  color: var(--declarative-text); background: var(--jp-cell-editor-background, #8881) }
.declarative { --declarative-text: var(--jp-content-font-color0, currentColor) }
.declarative .kd, .declarative .k { color: var(--jp-mirror-editor-keyword-color, #007b00); font-weight: 600 }
.declarative .kt { --colour: var(--jp-mirror-editor-attribute-color, #a35200) }
.declarative .nf { --colour: var(--jp-mirror-editor-builtin-color, #008080) }
.declarative .nl, .declarative .nc { --colour: var(--jp-mirror-editor-def-color, #00f) }
.declarative .m { --colour: var(--jp-mirror-editor-number-color, #080) }
.declarative .sd { --colour: var(--jp-mirror-editor-string-color, #ba2121) }
.declarative .c1 { --colour: var(--jp-mirror-editor-comment-color, #408080); font-style: italic }
.declarative .kt, .declarative .nf, .declarative .nl, .declarative .nc, .declarative .m, .declarative .sd,
.declarative .c1 { color: color-mix(in srgb, var(--colour) 65%, var(--declarative-text)) }
.declarative .line { display: inline-block; width: 2.2em; opacity: .45; user-select: none }
.declarative .wrong { background: #e0202030; text-decoration: underline wavy #e02020 }
.declarative .doubtful { background: #d0900030; text-decoration: underline wavy #d09000 }
.declarative .related { text-decoration: underline dotted currentColor }
.declarative .error { --colour: var(--jp-error-color1, #c62828); font-weight: 600 }
.declarative .warning { --colour: var(--jp-warn-color1, #a66f00); font-weight: 600 }
.declarative .error, .declarative .warning { color: color-mix(in srgb, var(--colour) 75%, var(--declarative-text)) }
.declarative .finding { margin: .5em 0 0 } .declarative .more { margin-left: 1.2em; opacity: .85 }
.declarative table { margin: .4em 0; border-collapse: collapse }
.declarative table td, .declarative table th { text-align: left !important;
  padding: .15em 1.2em .15em 0; vertical-align: top }
"""

MARKS = {"error": "wrong", "warning": "doubtful"}


@dataclass(frozen=True)
class Page:
    """What a cell shows: HTML in a notebook, and the same words as text in a terminal."""

    body: str
    text: str

    def _repr_html_(self) -> str:
        return f'<div class="declarative"><style>{STYLE}</style>{self.body}</div>'

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Mark:
    """A stretch of a text with a class and the words that appear over it."""

    start: int
    end: int
    kind: str
    title: str


def code_html(text: str) -> str:
    """A program, or a part of one, in colour."""
    return f"<pre>{''.join(_pieces(text, ())).rstrip()}</pre>"


def source_html(source: Source, diagnostics: Sequence[Diagnostic] = ()) -> str:
    """A whole program with line numbers; what diagnostics point at is marked."""
    coloured = "".join(_pieces(source.text, _marks(source, diagnostics))).rstrip("\n")
    lines = [f'<span class="line">{i}</span>{line}' for i, line in enumerate(coloured.split("\n"), 1)]
    return "<pre>" + "\n".join(lines) + "</pre>"


def findings_html(diagnostics: Sequence[Diagnostic]) -> str:
    """The words of diagnostics, a paragraph each."""
    return "".join(map(_finding, diagnostics))


def findings_text(diagnostics: Sequence[Diagnostic]) -> str:
    return "\n\n".join(map(render, diagnostics))


def prose(text: str) -> str:
    """A sentence whose code is in backticks."""
    return "".join(f"<code>{escape(p)}</code>" if i % 2 else escape(p) for i, p in enumerate(text.split("`")))


def _finding(diagnostic: Diagnostic) -> str:
    label = diagnostic.primary
    place = f"line {label.span.line}: " if label is not None else ""
    words = f" ({prose(label.text)})" if label is not None and label.text else ""
    head = f'<span class="{diagnostic.severity}">{diagnostic.severity}[{diagnostic.code}]</span>'
    more = [("note", note) for note in diagnostic.notes] + ([("help", diagnostic.help)] if diagnostic.help else [])
    rows = "".join(f'<div class="more"><b>{kind}</b>: {prose(text)}</div>' for kind, text in more)
    return f'<div class="finding">{head} {place}{prose(diagnostic.message)}{words}{rows}</div>'


def _marks(source: Source, diagnostics: Sequence[Diagnostic]) -> list[Mark]:
    """What to mark; what is wrong covers what is related to it."""
    marks = []
    for diagnostic in diagnostics:
        primary = diagnostic.primary
        if primary is not None and primary.span.source == source:
            title = f"{diagnostic.code}: {diagnostic.message}"
            end = max(primary.span.end, primary.span.start + 1)
            marks.append(Mark(primary.span.start, end, MARKS[diagnostic.severity], title))
        labels = [label for label in diagnostic.secondary if label.span.source == source]
        marks += [Mark(label.span.start, label.span.end, "related", label.text) for label in labels]
    return sorted(marks, key=lambda mark: mark.kind == "related")


def _pieces(text: str, marks: Sequence[Mark]) -> Iterator[str]:
    """The text's tokens, cut where lines end and marks begin or end."""
    cuts = {edge for mark in marks for edge in (mark.start, mark.end)}
    for start, kind, word in OptLexer().get_tokens_unprocessed(text):
        edges = sorted({0, len(word), *(cut - start for cut in cuts if 0 < cut - start < len(word))})
        for first, last in pairwise(edges):
            mark = next((m for m in marks if m.start <= start + first < m.end), None)
            yield _piece(word[first:last], kind, mark)


def _piece(word: str, kind: _TokenType, mark: Mark | None) -> str:
    classes = [STANDARD_TYPES.get(kind, "")] + ([mark.kind] if mark is not None else [])
    names = " ".join(name for name in classes if name and name != "w")
    if not names or word == "\n":
        return escape(word)
    title = f' title="{escape(mark.title)}"' if mark is not None and mark.title else ""
    return f'<span class="{names}"{title}>{escape(word)}</span>'
