"""Spectral functions of a matrix that is symmetric but for rounding, or not at all: of its symmetric part; cvxpy."""

import cvxpy as cp
import numpy as np
import pytest
import torch

import declarative as dl

PROGRAMS = {
    "lambda_max": (
        "minimize lambda_max(M + diag(x)) + sum_squares(x)",
        lambda M, x: cp.Minimize(cp.lambda_max(M + cp.diag(x)) + cp.sum_squares(x)),
    ),
    "lambda_min": (
        "maximize lambda_min(M * x[0] + diag(x)) - sum_squares(x - 1)",
        lambda M, x: cp.Maximize(cp.lambda_min(M * x[0] + cp.diag(x)) - cp.sum_squares(x - 1)),
    ),
    "log_det": (
        "maximize log_det(M * x[0] + diag(x)) - sum_squares(x)",
        lambda M, x: cp.Maximize(cp.log_det(M * x[0] + cp.diag(x)) - cp.sum_squares(x)),
    ),
}


def matrix():
    """Symmetric positive definite in exact arithmetic; in float32 some entries differ from their mirror images."""
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(4, 4))[0]
    M = basis @ torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])) @ basis.mT
    assert 0 < (M - M.mT).abs().max() < 1e-6
    return M


@pytest.mark.parametrize("skew", [0.0, 0.3], ids=["rounding", "asymmetric"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_solution_and_the_value(name, skew):
    statement, objective = PROGRAMS[name]
    source = f"layer spectral\nparam M[4, 4] symmetric\nvar x[4]\n{statement}\noutput x, value"
    M = matrix() + skew * torch.ones(4, 4).triu(1)
    solution = dl.compile(source)().solve(M)
    assert bool(solution.solved)
    x, exact = cp.Variable(4), M.double().numpy()
    reference = cp.Problem(objective((exact + exact.T) / 2, x))
    reference.solve(solver=cp.CLARABEL)
    assert np.abs(solution.outputs.x.numpy() - x.value).max() < 1e-4
    assert abs(float(solution.outputs.value) - reference.value) < 1e-5


def test_a_variable_that_is_not_declared_symmetric():
    source = (
        "layer nearest\nparam C[2, 2]\nvar X[2, 2]\nminimize sum_squares(X - C)\n"
        "subject to\n  c: lambda_max(X) <= 1\noutput X"
    )
    C = torch.tensor([[1.0, 3.0], [1.0, 1.0]], dtype=torch.float64)
    # The symmetric part [[1, 2], [2, 1]] has eigenvalues 3 and -1, of which the first comes down to 1.
    expected = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64) + torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    torch.testing.assert_close(dl.compile(source)()(C), expected, atol=1e-6, rtol=0)
