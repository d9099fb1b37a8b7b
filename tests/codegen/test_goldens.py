"""The emitted module of every sample program, letter by letter: the text is the product's face.

``UPDATE_GOLDENS=1 pytest tests/codegen/test_goldens.py`` writes the files anew; read the difference before you keep it.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from declarative.codegen.layout import WIDTH
from declarative.compiler import read, stages

PROGRAMS = Path(__file__).parents[1] / "programs" / "good"
SIZES = {
    "low_rank": {"m": 2, "n": 3},
    "nearest_correlation": {"n": 3},
    "portfolio": {"n": 3, "f": 1},
}
"""Sizes for the programs that have none of their own and need them."""

NAMES = sorted(p.stem for p in PROGRAMS.glob("*.opt"))


def emitted(name: str) -> str:
    program = read(PROGRAMS / f"{name}.opt")
    source = stages(program).source or stages(program, SIZES[name]).source
    assert source is not None
    return source


@pytest.mark.parametrize("name", NAMES)
def test_the_emitted_text(name: str) -> None:
    golden = PROGRAMS / f"{name}.py.expected"
    source = emitted(name)
    if os.environ.get("UPDATE_GOLDENS"):
        golden.write_text(source, encoding="utf-8")
    assert source == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_its_layout(name: str) -> None:
    """Lines fit, none ends in blanks, every method and the class say what they are."""
    source = emitted(name)
    assert source.endswith("\n")
    assert not source.endswith("\n\n")
    for line in source.splitlines():
        assert line == line.rstrip()
        assert len(line) <= max(WIDTH, 120), line
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.endswith("Output"):
            assert ast.get_docstring(node)
            assert all(ast.get_docstring(m) for m in node.body if isinstance(m, ast.FunctionDef))
