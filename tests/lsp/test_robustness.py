"""Whatever the text and the place, the server has an answer, and what it offers holds."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from declarative.diagnostics.span import Source
from declarative.frontend import check
from declarative.lsp.completion import complete
from declarative.lsp.document import Document
from declarative.lsp.fixes import fixes
from declarative.lsp.hover import hover
from declarative.lsp.rename import RenameError, rename
from declarative.lsp.signature import signature_at
from declarative.lsp.symbols import symbols

PROGRAMS = [p.read_text(encoding="utf-8") for p in sorted((Path(__file__).parents[1] / "programs").glob("*/*.opt"))]
GOOD = [p.read_text(encoding="utf-8") for p in sorted((Path(__file__).parents[1] / "programs/good").glob("*.opt"))]
PIECES = [
    "", "layer ", "dim ", "param ", "var ", "let ", "extern ", "minimize ", "solve\n", "subject to\n", "output ",
    " for ", " in ", " from ", " as ", "(", ")", "[", "]", "'", '"', "..", "==", "<=", "+", "-", "@", "^", ",", ":",
    "=", "\n", "#", "x", "t", "n", "0", "sum(", "dual(", "value", ".T", "**", "é", "\t",
]  # fmt: skip


@st.composite
def typed(draw: st.DrawFn) -> tuple[Document, int]:
    """A program with something typed into it, and a place."""
    text = draw(st.sampled_from(PROGRAMS))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(st.sampled_from(PIECES)) + text[end:]
    return Document(Source("typed.opt", text)), draw(st.integers(0, len(text)))


@settings(max_examples=250, deadline=None)
@given(typed())
def test_every_request_has_an_answer(case: tuple[Document, int]) -> None:
    document, offset = case
    found = hover(document, offset)
    assert found is None or (found.text and found.span.start <= offset <= found.span.end)
    names = [item.label for item in complete(document, offset)]
    assert len(names) == len(set(names))
    signature_at(document, offset)
    for symbol in symbols(document):
        assert symbol.span.start <= symbol.name_span.start <= symbol.name_span.end <= symbol.span.end
    for occurrence in document.occurrences:
        assert occurrence.span.text == occurrence.name


@settings(max_examples=60, deadline=None)
@given(typed())
def test_every_fix_that_is_offered_works(case: tuple[Document, int]) -> None:
    document, _ = case
    for diagnostic in document.diagnostics[:4]:
        for fix in fixes(document, diagnostic):
            left = [(d.code, d.message) for d in check(fix.applied(), "typed.opt")]
            before = [(d.code, d.message) for d in document.diagnostics]
            told = (diagnostic.code, diagnostic.message)
            assert left.count(told) < before.count(told)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(GOOD), st.data())
def test_renaming_keeps_a_program_right(text: str, data: st.DataObject) -> None:
    document = Document(Source("good.opt", text))
    offset = data.draw(st.integers(0, len(text)))
    try:
        spans = rename(document, offset, "renamed")
    except RenameError:
        return
    for span in sorted(spans, key=lambda s: -s.start):
        text = text[: span.start] + "renamed" + text[span.end :]
    assert check(text) == ()
