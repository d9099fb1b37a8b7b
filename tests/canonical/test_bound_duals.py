"""The dual of a bound is that of the constraint as it was written: scaled, turned round, one- or two-sided."""

from __future__ import annotations

import pytest
import torch

import declarative as dl

HEAD = "layer example\ndim n\nparam x[n]\nvar y[n]\nminimize sum_squares(y - x)\nsubject to\n"
X = torch.tensor([0.0, 5.0, 1.0], dtype=torch.float64)
LOW, HIGH = [1.0, 0.0, 0.0], [0.0, 4.0, 0.0]
"""Multipliers of 0.5 <= y and y <= 3 at the projection of X: 2 (y - x) = low - high."""


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        ("  l: y >= 0.5\n  u: y <= 3", {"l": LOW, "u": HIGH}),
        ("  l: 2 * y >= 1\n  u: y / 2 <= 1.5", {"l": [0.5, 0, 0], "u": [0, 8.0, 0]}),
        ("  l: -2 * y <= -1\n  u: -6 <= -2 * y", {"l": [0.5, 0, 0], "u": [0, 2.0, 0]}),
        ("  both: 0.5 <= y <= 3", {"both": [-1.0, 4.0, 0]}),
        ("  both: 1 <= 2 * y <= 6", {"both": [-0.5, 2.0, 0]}),
        ("  both: -6 <= -2 * y <= -1", {"both": [0.5, -2.0, 0]}),
    ],
)
def test_it_is_the_multiplier_of_the_row_as_written(constraints: str, expected: dict[str, list[float]]) -> None:
    solution = dl.compile(dl.parse_program(HEAD + constraints))().solve(X)
    torch.testing.assert_close(solution.outputs, torch.tensor([0.5, 3.0, 1.0], dtype=torch.float64))
    assert set(solution.duals) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(solution.duals[name], torch.tensor(value, dtype=torch.float64))
