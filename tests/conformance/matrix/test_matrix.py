"""Every cell of the matrix is what the table says: it holds, or it is refused in the words that the page gives."""

from __future__ import annotations

import re
import warnings

import pytest

import declarative as dl
from declarative.structures import STRUCTURES
from tests.conformance.matrix.property import Holds, Property, Refused
from tests.conformance.matrix.subject import Setting
from tests.conformance.matrix.subjects import SUBJECTS
from tests.conformance.matrix.table import cells, quick, refusal

CELLS = [
    pytest.param(prop, setting, id=f"{prop}-{setting}", marks=() if quick(prop, setting) else pytest.mark.slow)
    for prop, setting in cells()
]


@pytest.mark.parametrize(("prop", "setting"), CELLS)
def test_cell(prop: Property, setting: Setting) -> None:
    expected = refusal(prop, setting)
    with warnings.catch_warnings():
        warnings.simplefilter("error", dl.AdjointWarning)
        verdict = prop.judge(setting)
    if expected is None:
        assert verdict == Holds()
    else:
        assert isinstance(verdict, Refused)
        assert re.search(expected.words, verdict.message), verdict.message


def test_every_structure_has_a_subject() -> None:
    assert {subject.structure for subject in SUBJECTS} == {structure.name for structure in STRUCTURES}


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_a_subject_is_of_its_structure(subject: object) -> None:
    from declarative.compiler import read, stages

    assert stages(read(subject.program)).match.structure == subject.structure  # type: ignore[attr-defined]
