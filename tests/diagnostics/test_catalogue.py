"""Every explained program has the error that it explains, and its mended twin none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import declarative
from declarative.diagnostics.catalogue import CATALOGUE
from declarative.frontend import check

SHOWN = [entry for entry in CATALOGUE.values() if entry.wrong]
SOURCES = Path(declarative.__file__).parent


@pytest.mark.parametrize("entry", SHOWN, ids=lambda entry: entry.code)
def test_wrong_and_right_program(entry: object) -> None:
    assert isinstance(entry, type(SHOWN[0]))
    assert {d.code for d in check(entry.wrong)} == {entry.code}
    assert check(entry.right) == ()
    assert entry.code in entry.text()
    assert "    layer example" in entry.text()


def test_every_code_in_use_is_explained_and_every_entry_in_use() -> None:
    folders = ("frontend", "ir", "builder")
    files = [path for folder in folders for path in (SOURCES / folder).glob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    text += "\n".join(
        path.read_text(encoding="utf-8") for path in (SOURCES.parent / "grammar" / "mistakes").glob("*.opt")
    )
    used = set(re.findall(r"\b[EW][1-5]\d\d\b", text))
    assert used <= CATALOGUE.keys()
    assert {code for code in CATALOGUE if code[1] in "12345"} <= used
