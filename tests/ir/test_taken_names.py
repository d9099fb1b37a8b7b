"""Every attribute of a layer is refused as the name of what becomes an attribute of it."""

from __future__ import annotations

import pytest

import declarative as dl
from declarative.ir.verify_declarations import TAKEN

LAYER = """layer Taken
dim n
param x[n]
param weight learned nonneg
var y[n]
minimize sum_squares(y - x) + weight * norm1(y)
"""


def test_every_public_attribute_is_taken() -> None:
    layer = dl.compile(LAYER)()
    public = {name for name in dir(layer) if not name.startswith("_")}
    assert not public - TAKEN - {"weight"}


@pytest.mark.parametrize("name", ["solution", "solver", "blocks", "gradient", "unconstrained"])
def test_is_refused(name: str) -> None:
    with pytest.raises(dl.DiagnosticError, match=f"`{name}` is already an attribute of every layer"):
        dl.compile(LAYER.replace("weight", name))
