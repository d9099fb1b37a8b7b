"""Whatever the text, only diagnostics come out, and they point into it."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from declarative.diagnostics.catalogue import CATALOGUE
from declarative.diagnostics.diagnostic import Diagnostic
from declarative.diagnostics.render import render, to_json
from declarative.frontend import check
from declarative.frontend.limits import MAXIMUM_LENGTH

PROGRAMS = [p.read_text(encoding="utf-8") for p in sorted((Path(__file__).parents[1] / "programs").glob("*/*.opt"))]
PIECES = [
    "layer", "dim", "param", "var", "let", "extern", "minimize", "solve", "subject to", "output", "option", "for", "in",
    "from", "as", "locally", "psd", "(", ")", "[", "]", "'", '"', "..", "==", "<=", "+", "-", "*", "@", "^", ",", ":",
    "=", "\n", "\n", "#", "x", "y", "n", "t", "0", "1", "2.5", "sum", "sum_squares", "dual", "value", ".T", "**", "é",
    "\t", ";",
]  # fmt: skip


def check_diagnostics(text: str) -> tuple[Diagnostic, ...]:
    """Diagnostics of a text, each of a known code, within the text, and printable."""
    diagnostics = check(text, "fuzz.opt")
    for diagnostic in diagnostics:
        assert diagnostic.code in CATALOGUE
        for label in (diagnostic.primary, *diagnostic.secondary):
            if label is not None:
                assert 0 <= label.span.start <= label.span.end <= len(text)
        assert render(diagnostic).startswith(diagnostic.severity)
        assert to_json(diagnostic)["code"] == diagnostic.code
    return diagnostics


@settings(max_examples=120, deadline=None)
@given(st.text(alphabet=string.printable + "éθ≤\u202e\0", max_size=200))
def test_random_text(text: str) -> None:
    check_diagnostics(text)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=60))
def test_random_words(pieces: list[str]) -> None:
    check_diagnostics("layer l\ndim n\nparam x[n]\nvar y[n]\n" + " ".join(pieces))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PROGRAMS), st.data())
def test_mutated_programs(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, max(len(text) - 1, 0)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from(["", *PIECES])) + text[end:]
    check_diagnostics(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("layer l\nvar y\nminimize " + "(" * 5000 + "y" + ")" * 5000 + "\n", "E107"),
        ("layer l\nvar y\nminimize " + "(" * 5000 + "\n", "E107"),
        ("layer l\nvar y\nminimize y" + " + y" * 5000 + "\n", "E107"),
        ("layer l\nvar y\nminimize " + "-" * 5000 + "y\n", "E107"),
        ("layer l\nvar y\nminimize y" + "'" * 5000 + "\n", "E107"),
        ("layer l\nvar y\nminimize y" + "^y" * 5000 + "\n", "E107"),
        ("layer l\nvar y\nminimize " + "abs(" * 5000 + "y" + ")" * 5000 + "\n", "E107"),
        ("\x7fELF\0\0\0\1", "E002"),
        ("x" * (MAXIMUM_LENGTH + 1), "E003"),
        ("", "E108"),
        ("# only a comment", "E108"),
        (")" * 5000, "E102"),
        ("layer l\n" + "let a = \n" * 5000, "E101"),
    ],
    ids=range(13),
)
def test_extremes(text: str, code: str) -> None:
    assert check_diagnostics(text)[0].code == code


def test_lets_that_grow() -> None:
    """Lets that use each other twice describe an expression of exponential size."""
    lets = "".join(f"let a{i + 1} = a{i} + a{i}\n" for i in range(40))
    found = check_diagnostics(f"layer l\nvar y\nlet a0 = y\n{lets}minimize a40^2\n")
    assert [d.code for d in found] == ["E107"]
