"""A compiled library that was built from other sources than those beside it is not called: the layouts may differ."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from declarative.runtime.native import library
from declarative.runtime.native.fingerprint import SOURCES, fingerprint

needs_kernels = pytest.mark.skipif(library.library() is None, reason="the kernels are not built, or from other sources")


@needs_kernels
def test_the_library_says_which_sources_it_was_built_from() -> None:
    loaded = library.library()
    assert loaded is not None
    assert loaded.declarative_sources() == str(fingerprint()).encode()


@needs_kernels
def test_a_library_of_other_sources_is_refused_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "fingerprint", lambda: "0123456789abcdef")
    with pytest.warns(RuntimeWarning, match="built from other sources.*pip install -e"):
        assert library.library.__wrapped__() is None


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_library_from_before_the_fingerprint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.c").write_text('const char* declarative_instructions(void) { return "avx2"; }\n')
    subprocess.run(["cc", "-shared", "-fPIC", "old.c", "-o", "_engine.so"], cwd=tmp_path, check=True)
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    with pytest.warns(RuntimeWarning, match="built from other sources"):
        assert library.library.__wrapped__() is None


def test_the_fingerprint_changes_with_any_source(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(SOURCES, tmp_path / "src"))
    assert fingerprint(copy) == fingerprint()
    changed = copy / "lanes.hpp"
    changed.write_text(changed.read_text() + "\n")
    assert fingerprint(copy) != fingerprint()


def test_without_sources_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert fingerprint(tmp_path) is None


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler to have built the kernels")
def test_where_there_is_a_compiler_the_tests_run_the_kernels() -> None:
    """Else every test of the kernels would be skipped, and nobody be told."""
    assert library.library() is not None, "the kernels are not built, or from other sources: pip install -e ."
