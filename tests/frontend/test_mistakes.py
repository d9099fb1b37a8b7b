"""Every example of ``grammar/mistakes`` gets the words of its file, and mistakes do not hide each other."""

from __future__ import annotations

import pytest

from declarative.diagnostics.catalogue import CATALOGUE
from declarative.diagnostics.span import Source
from declarative.frontend.examples import Mistake, mistakes
from declarative.frontend.limits import MAXIMUM_ERRORS
from declarative.frontend.parser import parse

EXAMPLES = [(mistake, example) for mistake in mistakes() for example in mistake.examples]


@pytest.mark.parametrize(("mistake", "example"), EXAMPLES, ids=[f"{m.name}: {e.strip()!r}" for m, e in EXAMPLES])
def test_example_gets_the_words_of_its_file(mistake: Mistake, example: str) -> None:
    found = parse(Source("test", example))[1]
    assert [(d.code, d.message, d.help) for d in found] == [(mistake.code, mistake.message, mistake.help)]
    assert mistake.code in CATALOGUE


def test_the_words_hold_for_other_programs_than_the_examples() -> None:
    text = "layer l\ndim steps\nvar speed[steps, 3] nonneg 'km/h'\nminimize sum(speed)\n"
    (found,) = parse(Source("test", text))[1]
    assert found.message == "a description stands in double quotes"
    assert found.primary is not None
    assert (found.primary.span.line, found.primary.span.column) == (3, 28)


def test_every_broken_statement_is_told() -> None:
    text = "layer l\nparam x[n\nvar y[n] 'd'\nlet r = 2 x\nminimise y\nsubject to\n  y = = 1\n  c: y <= 1;\n"
    lines = [d.primary.span.line for d in parse(Source("test", text))[1] if d.primary]
    assert lines == [2, 3, 4, 5, 7, 8]


def test_errors_are_bounded_in_number() -> None:
    found = parse(Source("test", "param ;\n" * 1000))[1]
    assert len(found) == MAXIMUM_ERRORS
