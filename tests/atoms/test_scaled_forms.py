"""A constant scalar in front of a product of vectors belongs to the whole quadratic form."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

import declarative as dl

SPELLINGS = [
    "1/2 * x @ P @ x",
    "1/2 * x' @ P @ x",
    "x/2 @ P @ x",
    "(P @ (x/2)) @ x",
    "x @ P @ (1/2 * x)",
    "k * x @ P @ x / (2*k)",
    "-(-x @ P @ x) / 2",
    "1/18 * triple @ P @ triple",
    "1/2 * (-x) @ P @ (-x)",
]


def _program(objective: str) -> str:
    return (
        "layer form\ndim n\nparam P[n, n] psd\nparam c[n]\nparam k nonneg\nvar x[n]\nlet triple = 3 * x\n"
        f"minimize {objective} + c @ x\nsubject to\n  sum(x) == 1\noutput x, value as best\n"
    )


@pytest.mark.parametrize("objective", SPELLINGS)
def test_every_spelling_is_the_same_problem(objective: str) -> None:
    generator = np.random.default_rng(2)
    root, c = generator.normal(size=(3, 3)), generator.normal(size=3)
    P = root @ root.T + np.eye(3)
    x = cp.Variable(3)
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, P) / 2 + c @ x), [cp.sum(x) == 1])
    problem.solve(solver=cp.CLARABEL)
    layer = dl.compile(dl.parse_program(_program(objective), "form.opt"))()
    found = layer(torch.tensor(P), torch.tensor(c), torch.tensor(1.7, dtype=torch.float64))
    np.testing.assert_allclose(found.x.numpy(), x.value, atol=1e-6)
    np.testing.assert_allclose(found.best.numpy(), problem.value, atol=1e-7)


@pytest.mark.parametrize("objective", ["-x @ x", "-1/2 * x @ P @ x", "c[0] * x @ x", "x @ (0 - P) @ x"])
def test_a_factor_that_is_not_known_to_be_nonnegative_is_not_convex(objective: str) -> None:
    with pytest.raises(dl.DiagnosticError, match="E301"):
        dl.parse_program(_program(objective), "form.opt")


def test_norms_of_a_scaled_vector() -> None:
    layer = dl.compile(dl.parse_program("layer near\nparam a[3]\nvar x[3]\nminimize 2 * x @ x - a @ x", "near.opt"))()
    a = torch.tensor([1.0, -2.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(layer(a), a / 4)
