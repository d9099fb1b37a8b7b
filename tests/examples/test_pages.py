"""Every example's page shows the programs that its folder holds, and a figure that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "examples").glob("*/README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_programs_are_those_of_the_folder(page: Path) -> None:
    shown = re.findall(r"^```opt\n# (\w+\.opt)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for name, text in shown:
        assert (page.parent / name).read_text(encoding="utf-8") == text, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_files_that_are_referred_to_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert any(link.endswith((".png", ".svg")) for link in links)
    for link in links:
        assert (page.parent / link).exists(), link
