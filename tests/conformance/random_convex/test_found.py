"""Programs that random ones once failed on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

import declarative as dl

F64 = torch.float64


@pytest.mark.parametrize(("weight", "limit"), [(0.24981335, 0.93573951), (0.3, 1.5), (0.27910383, 2.5)])
def test_idle_exponential_cones_leave_the_solution_exact(weight: float, limit: float) -> None:
    """The cone of exp x has its dual at a vanishing first entry, where the projection's root is hard to bracket."""
    layer = dl.compile(
        "layer idle\ndim n = 1\nparam w nonneg\nparam r\nvar x[n]\nmaximize -(sum(exp(x)) * w + sum_squares(x) / 2)\n"
        "subject to\n  -sum(logistic(x)) >= -r\n  -5 <= x <= 5\n"
    )().double()
    solution = layer.solve(torch.tensor(weight, dtype=F64), torch.tensor(limit, dtype=F64))
    assert bool(solution.solved)
    best = minimize_scalar(lambda x: np.exp(x) * weight + x**2 / 2, bounds=(-5, 5), options={"xatol": 1e-12})
    assert float(solution.outputs[0]) == pytest.approx(best.x, abs=1e-7)


def test_running_sums_within_a_quadratic() -> None:
    """cvxpy's own running sum has no canonical form there."""
    layer = dl.compile(
        "layer drawn\ndim n = 2\nparam P[n, n] psd\nparam c[n]\nvar x[n]\n"
        "minimize quad_form(cumsum(x), P) + log_sum_exp(cumsum(x) - c)\n"
    )().double()
    P, c = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([0.3, -0.2])
    x = layer(torch.tensor(P), torch.tensor(c)).numpy()
    z = np.cumsum(x)
    weights = np.exp(z - c) / np.exp(z - c).sum()
    np.testing.assert_allclose(2 * P @ z + weights, 0, atol=1e-7)
