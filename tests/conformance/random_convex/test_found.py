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
