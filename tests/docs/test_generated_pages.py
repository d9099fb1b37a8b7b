"""The pages that come from the registries are up to date, and leave nothing out."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from declarative.atoms import ATOMS
from declarative.diagnostics.catalogue import CATALOGUE
from declarative.structures import STRUCTURES

DOCS = Path(__file__).parents[2] / "docs"
PAGES: dict[str, Callable[[], str]] = runpy.run_path(str(DOCS / "generate.py"))["PAGES"]


@pytest.mark.parametrize("name", PAGES)
def test_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), f"run `make docs`: docs/{name} is out of date"


def test_every_function_structure_and_code_is_listed() -> None:
    atoms, structures, errors = (PAGES[name]() for name in ("atoms.md", "structures.md", "errors.md"))
    for atom in ATOMS.values():
        assert atom.doc in atoms, atom.name
    for structure in STRUCTURES:
        assert f"`{structure.name}`" in structures
    for code in CATALOGUE:
        assert f"### {code}:" in errors


def test_curvature_is_that_of_the_function() -> None:
    rows = {
        line.split("`")[1].split("(")[0]: line for line in PAGES["atoms.md"]().splitlines() if line.startswith("| `")
    }
    assert "| convex |" in rows["norm1"]
    assert "| concave |" in rows["log_det"]
    assert "| affine |" in rows["trace"]
    assert "| convex |" in rows["quad_over_lin"]
