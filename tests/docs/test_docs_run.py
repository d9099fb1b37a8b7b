"""Every block of the pages runs: programs compile, Python executes, commands succeed, printed output is as shown.

A page's blocks run in order, in one namespace and one folder. ``opt`` blocks whose first line is ``# name.opt`` are
files, ``python`` blocks are executed, an ``output`` block is what the block above it printed (``...`` stands for
anything), a ``py`` block is an excerpt of a module that one of the page's programs compiles to, and of a ``console``
block the lines ``$ declarative ...`` are run.
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import declarative as dl

ROOT = Path(__file__).parents[2]
PAGES = sorted(p for p in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    kind: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    content = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(content):
        yield Block(match[1], match[2], content.count("\n", 0, match.start()) + 2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder to import from; what a page imports or sets ends with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    known, dtype = set(sys.modules), torch.get_default_dtype()
    yield tmp_path
    torch.set_default_dtype(dtype)
    for name in set(sys.modules) - known:
        if Path(getattr(sys.modules[name], "__file__", None) or ROOT).parent == tmp_path:
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs(page: Path, folder: Path) -> None:
    torch.manual_seed(0)
    namespace: dict[str, Any] = {"__name__": "page"}
    printed = ""
    for kind, text, line in blocks(page):
        place = f"{page.name}:{line}"
        if kind == "opt":
            write_program(text, place)
        elif kind == "python":
            printed = execute(text, place, namespace)
        elif kind == "console":
            printed = run_commands(text, place)
        elif kind == "output":
            assert matches(text, printed), f"{place}: printed\n{printed}"
        elif kind == "py":
            assert any(text.strip() in dl.compile(p).source() for p in folder.glob("*.opt")), place


def write_program(text: str, place: str) -> None:
    """The file that the block is; a program without a name is only an excerpt, and every block here is whole."""
    named = re.match(r"# (\w+\.opt)\n", text)
    assert named, f"{place}: the first line of a program is its file's name"
    Path(named[1]).write_text(text, encoding="utf-8")


def execute(text: str, place: str, namespace: dict[str, Any]) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(text, place, "exec", dont_inherit=True), namespace)
    return out.getvalue()


def run_commands(text: str, place: str) -> str:
    printed = ""
    for command in re.findall(r"^\$ declarative (.*)$", text, re.MULTILINE):
        done = subprocess.run(
            [sys.executable, "-m", "declarative", *shlex.split(command, comments=True)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{place}: {command}\n{done.stderr}"
        printed += done.stdout
    return printed


def matches(shown: str, printed: str) -> bool:
    """Whether the text is what was printed, up to blanks; ``...`` in what is shown stands for anything."""
    pattern = ".*".join(re.escape(part.strip()) for part in plain(shown).split("..."))
    return re.fullmatch(pattern, plain(printed)) is not None


def plain(text: str) -> str:
    """One blank between words, and zeros without a sign: it is a rounding error's, or the kernels' at hand."""
    return " ".join(re.sub(r"-(0\.0*)(?!\d)", r"\1", text).split())


def test_a_page_without_blocks_would_be_noticed() -> None:
    kinds = {str(page.relative_to(ROOT)): {block.kind for block in blocks(page)} for page in PAGES}
    assert {"opt", "python", "output"} <= kinds["docs/language.md"]
    assert {"opt", "python", "console", "py"} <= kinds["README.md"]


def test_output_that_differs_is_noticed() -> None:
    assert matches("a ... c\n", "a b c\n")
    assert not matches("a b d\n", "a b c\n")
    assert not matches("a.c\n", "abc\n")
