"""Every broken program gets exactly the words beside it.

``UPDATE_TRANSCRIPTS=1 pytest tests/frontend/test_transcripts.py`` writes the transcripts anew; read the difference
before committing it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from declarative.diagnostics.render import render
from declarative.frontend import check

PROGRAMS = Path(__file__).parents[1] / "programs"
BAD = sorted((PROGRAMS / "bad").glob("*.opt"))
GOOD = sorted((PROGRAMS / "good").glob("*.opt"))


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_broken_program_gets_its_transcript(path: Path) -> None:
    diagnostics = check(path.read_text(encoding="utf-8"), path.name)
    transcript = "\n\n".join(map(render, diagnostics)) + "\n"
    expected = path.with_suffix(".expected")
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        expected.write_text(transcript, encoding="utf-8")
    assert diagnostics
    assert transcript == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.stem)
def test_good_program_gets_no_word(path: Path) -> None:
    assert check(path.read_text(encoding="utf-8"), path.name) == ()
