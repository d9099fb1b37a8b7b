"""``declarative format`` in the terminal: what it writes, says and returns."""

from __future__ import annotations

from pathlib import Path

import pytest

from declarative.cli import main

UNTIDY = "layer l\nvar   x  # unknown\nminimize x^2\n"
TIDY = "layer l\nvar x  # unknown\n\nminimize x^2\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "untidy.opt"
    path.write_text(UNTIDY, encoding="utf-8")
    return path


def test_files_are_formatted_in_place(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["format", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == TIDY
    assert capsys.readouterr().out == f"{file}: formatted\n"
    assert main(["format", str(file)]) == 0
    assert capsys.readouterr().out == ""


def test_check_names_files_and_leaves_them(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tidy = file.with_name("tidy.opt")
    tidy.write_text(TIDY, encoding="utf-8")
    assert main(["format", "--check", str(file), str(tidy)]) == 1
    assert capsys.readouterr().out == f"{file}: would be formatted\n"
    assert file.read_text(encoding="utf-8") == UNTIDY
    assert main(["format", "--check", str(tidy)]) == 0


def test_a_broken_file_stays_and_the_others_are_formatted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = file.with_name("broken.opt")
    broken.write_text("layer l\nvar x[\n", encoding="utf-8")
    assert main(["format", str(broken), str(file), str(file.with_name("missing.opt"))]) == 1
    assert broken.read_text(encoding="utf-8") == "layer l\nvar x[\n"
    assert file.read_text(encoding="utf-8") == TIDY
    errors = capsys.readouterr().err
    assert f"{broken}:2:" in errors
    assert "E001" in errors


def test_formatting_knows_no_sizes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["format", str(file), "--dim", "n=3"]) == 2
    assert "no option `--dim`" in capsys.readouterr().err
