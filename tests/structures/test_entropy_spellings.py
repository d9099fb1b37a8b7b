"""The product of a variable and its logarithm is an entropy term, however it is written, and nothing else is."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

import declarative as dl
from declarative.compiler import stages
from declarative.frontend import parse_program

F64 = torch.float64
SCORES = torch.tensor([[0.3, 1.0, -0.2], [2.0, -1.0, 0.5]], dtype=F64)
ACCURACY = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
PRIOR = torch.tensor([0.2, 0.5, 0.3], dtype=F64)


def program(objective: str, constraints: str = "sum(y) == 1") -> str:
    return f"""layer Entropic
dim n
param x[n]
param p[n] nonneg
var y[n]
{objective}
subject to
  {constraints}
"""


SPELLINGS = {
    "minimize sum(y * log(y)) - x' @ y": torch.softmax(SCORES, -1),
    "minimize sum(log(y) * y) - x' @ y": torch.softmax(SCORES, -1),
    "maximize x' @ y - y' @ log(y)": torch.softmax(SCORES, -1),
    "maximize x' @ y - log(y)' @ y": torch.softmax(SCORES, -1),
    "maximize x' @ y + sum(-y * log(y))": torch.softmax(SCORES, -1),
    "minimize sum(2 * y * log(y)) - x' @ y": torch.softmax(SCORES / 2, -1),
    "minimize 2 * (y @ log(y)) - x' @ y": torch.softmax(SCORES / 2, -1),
    "minimize sum(y * log(y / p)) - x' @ y": torch.softmax(SCORES + PRIOR.log(), -1),
    "minimize sum(y[i] * log(y[i]) for i in 0..n-1) - x' @ y": torch.softmax(SCORES, -1),
    "let l = log(y)\nminimize y @ l - x' @ y": torch.softmax(SCORES, -1),
}


@pytest.mark.parametrize("objective", SPELLINGS)
def test_is_softmax(objective: str) -> None:
    source = program(objective)
    assert stages(parse_program(source)).match.structure == "softmax"
    layer = dl.compile(source)()
    torch.testing.assert_close(layer(SCORES, PRIOR), SPELLINGS[objective], rtol=1e-12, atol=1e-13)
    leaf = SCORES.clone().requires_grad_()
    (found,) = torch.autograd.grad(layer(leaf, PRIOR)[:, 0].sum(), leaf)
    step = 1e-6 * torch.eye(3, dtype=F64)
    central = torch.stack([(layer(SCORES + s, PRIOR)[:, 0] - layer(SCORES - s, PRIOR)[:, 0]) / 2e-6 for s in step], -1)
    torch.testing.assert_close(found, central, rtol=1e-7, atol=1e-9)


def test_within_a_cone_program() -> None:
    layer = dl.compile(program("minimize sum(p * y * log(y)) + norm2(y - x)", "sum(y) == 1\n  y[0] <= 0.3"), n=3)()
    x, p = SCORES[0], PRIOR
    y = cp.Variable(3)
    objective = cp.sum(cp.multiply(p.numpy(), -cp.entr(y))) + cp.norm2(y - x.numpy())
    cp.Problem(cp.Minimize(objective), [cp.sum(y) == 1, y[0] <= 0.3]).solve(solver=cp.CLARABEL, **ACCURACY)
    np.testing.assert_allclose(layer(x, p).numpy(), y.value, atol=1e-7)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("maximize sum(y * log(y))", "`y \\* log\\(y\\)` is convex"),
        ("minimize sum(x * y * log(y))", "E301"),
        ("minimize sum(y * log(y + 1))", "E301"),
        ("minimize sum(y * log(2 * y))", "E301"),
        ("minimize sum(y * log(x))", None),
    ],
)
def test_anything_else_is_no_entropy(objective: str, message: str | None) -> None:
    if message is None:
        assert stages(parse_program(program(objective, "sum(y) == 1\n  y >= 0"))).match.structure != "softmax"
        return
    with pytest.raises(dl.DiagnosticError, match=message):
        parse_program(program(objective))
