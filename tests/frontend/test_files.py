"""Reading programs: what cannot be read is a diagnostic."""

from __future__ import annotations

from pathlib import Path

import pytest

from declarative.diagnostics.diagnostic import DiagnosticError
from declarative.frontend.files import read


def test_text_with_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.opt"
    path.write_bytes(b'\xef\xbb\xbflayer a "caf\xc3\xa9"\n')
    assert read(path) == 'layer a "café"\n'


@pytest.mark.parametrize(("name", "message"), [("missing", "no such file"), ("", "is a directory")])
def test_unreadable(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DiagnosticError, match=message) as caught:
        read(tmp_path / name)
    assert caught.value.diagnostics[0].code == "E001"


def test_missing_suffix(tmp_path: Path) -> None:
    (tmp_path / "a.opt").write_text("layer a\n")
    with pytest.raises(DiagnosticError, match=r"did you mean `.*a\.opt`"):
        read(tmp_path / "a")


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "a.opt"
    path.write_bytes(b"layer a\n\xff\xfe")
    with pytest.raises(DiagnosticError, match="line 2 holds the byte 0xff") as caught:
        read(path)
    assert caught.value.diagnostics[0].code == "E002"
