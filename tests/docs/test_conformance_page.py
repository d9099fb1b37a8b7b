"""The page of what is tested says what is tested."""

from __future__ import annotations

from tests.conformance.matrix.page import PAGE, page


def test_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`: docs/conformance.md is out of date"
