"""The page of messages says what the compiler says, and what this version of cvxpy says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import cvxpy
import pytest

from declarative.frontend import check

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT: dict[str, Any] = runpy.run_path(str(DOCS / "compare_messages.py"))
PAGE = (DOCS / "diagnostics.md").read_text(encoding="utf-8")
SECTIONS = {title.splitlines()[0]: title for title in PAGE.split("\n## ")[1:]}
SAME_VERSION = re.search(r"CVXPY (\S+) says", PAGE)


def blocks(title: str) -> list[str]:
    """The blocks of a section: program, message, Python, message."""
    return re.findall(r"^```\w+\n(.*?)^```$", SECTIONS[title], re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("mistake", SCRIPT["MISTAKES"], ids=lambda m: m.name)
def test_our_words(mistake: Any) -> None:
    program, message, *_ = blocks(mistake.title)
    assert program == f"# {mistake.name}.opt\nlayer {mistake.name}\n{mistake.program}"
    assert message.rstrip() == SCRIPT["ours"](mistake)
    assert bool(check(program)) != (message == "nothing to report\n")


@pytest.mark.parametrize("mistake", SCRIPT["MISTAKES"], ids=lambda m: m.name)
def test_words_of_cvxpy(mistake: Any) -> None:
    if SAME_VERSION is None or SAME_VERSION[1] != cvxpy.__version__:
        pytest.skip("the page quotes another version of cvxpy")
    *_, python, message = blocks(mistake.title)
    assert python.rstrip() == mistake.python
    assert message.rstrip() == SCRIPT["theirs"](mistake)


def test_the_page_is_whole() -> None:
    assert list(SECTIONS) == [m.title for m in SCRIPT["MISTAKES"]]
