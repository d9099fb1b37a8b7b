"""The dual of a bound or an equality is that of the constraint as written: scaled, turned round, two-sided."""

from __future__ import annotations

import pytest
import torch

import declarative as dl
from declarative.canonical.normalise import normalise
from declarative.codegen.torch_module import emit
from declarative.compiler import load
from declarative.structures.cone_program import ConeProgramMatch

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


@pytest.mark.parametrize("written", ["sum(y) == 1", "1 == sum(y)", "-sum(y) == -1", "0 == 2 - 2 * sum(y)"])
def test_the_dual_of_an_equality_is_that_of_left_minus_right_on_every_road(written: str) -> None:
    """nu of L = f + nu (lhs - rhs), for the quadratic program and for the cone program that cvxpy makes."""
    program = dl.parse_program(f"{HEAD}  c: {written}\noutput y, dual(c) as nu")
    slope = {"sum(y) == 1": 1.0, "1 == sum(y)": -1.0, "-sum(y) == -1": -1.0, "0 == 2 - 2 * sum(y)": 2.0}[written]
    cone = load(emit(program, ConeProgramMatch(normalise(program)), {"n": 3}), "Example")
    for layer in (dl.compile(program)(), cone()):
        y, nu = layer(X)
        torch.testing.assert_close(2 * (y - X) + slope * nu, torch.zeros_like(X), rtol=0, atol=1e-8)
