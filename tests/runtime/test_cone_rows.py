"""The rows of a cone program go by the names of the constraints and variables that they come from."""

from __future__ import annotations

import pytest
import torch

import declarative as dl
from declarative.runtime.cone_rows import ConeRows

F64 = torch.float64
HEAD = "layer rows\ndim n = 2\nparam c[n]\n"


def names(source: str) -> list[str]:
    """Of every row, in order, each name once where neighbours share it."""
    layer = dl.compile(source)()
    bound = layer.bind(torch.tensor([3.0, 1.0], dtype=F64))
    kind, problem = layer.specialised(bound.sizes), layer._problem(bound)
    rows = ConeRows(layer, kind, bound, problem)
    found = [rows.name(row) for row in range(problem.pattern.m)]
    return [name for i, name in enumerate(found) if i == 0 or found[i - 1] != name]


SIGNS = "var x[n] nonneg\nvar s nonpos\nminimize norm2(x - c) - s\nsubject to\n  cap: x[0] <= 4\n"
NESTED = "var x[n]\nminimize norm2(x - c)\nsubject to\n  cap: abs(x) + pos(x) <= 10\n  sum(exp(x)) <= 100\n"
SIDES = "var x[n]\nminimize norm2(x - c)\nsubject to\n  two: -1 <= 2 * x <= 3\n  each: x[i] <= 1 for i in 0..n-1\n"
SHARED = "var x[n]\nminimize norm2(2 * x - c)\nsubject to\n  near: norm2(2 * x - c) + norm1(x) <= 10\n  sum(x) <= 5\n"
MATRICES = (
    "var X[n, n] psd\nvar Y[n, n] symmetric\nminimize norm_fro(X - outer(c, c)) + norm_fro(Y)\n"
    "subject to\n  below: X - Y in psd\n  signs: Y >= 0\n"
)
CASES = {
    "attributes": (SIGNS, {"x[0]", "x[1]", "s", "cap", "epigraph"}),
    "functions in a constraint": (NESTED, {"cap[0]", "cap[1]", "c1", "epigraph"}),
    "two sides, and an index": (SIDES, {"two[0]", "two[1]", "each[0]", "each[1]", "epigraph"}),
    "a function of the objective in a constraint": (SHARED, {"near", "c1"}),
    "matrices": (MATRICES, {"X", "below", "signs[0, 0]", "signs[0, 1]", "signs[1, 0]", "signs[1, 1]", "epigraph"}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_row_has_a_name(case: str) -> None:
    text, expected = CASES[case]
    assert set(names(HEAD + text)) == expected


def test_a_weakly_active_sign_of_a_variable_is_told() -> None:
    """With x_1 free, x - c + (x - a) / |x - a| = 0 has x_1 = 0 just where c_1 is that of the norm's slope there."""
    source = HEAD + "var x[n] nonneg\nminimize 1/2 * sum_squares(x - c) + norm2(x - 3)\n"
    first = torch.tensor(1.5, dtype=F64)
    slope = torch.stack([first - 3, torch.tensor(-3.0, dtype=F64)])
    slope = slope / slope.norm()
    c = torch.stack([first, torch.zeros((), dtype=F64)]) + slope
    report = dl.compile(source)().diagnose(torch.stack([c, c + torch.tensor([0.0, -0.5], dtype=F64)]))
    assert report.weakest[0] == "x[1]"
    assert "weakly active: x[1]" in report.meaning[0][0]
    assert report.holds.tolist() == [False, True]
