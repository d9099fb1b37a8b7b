"""`layer.smooth`: the smoothed problem as cvxpy solves it, gradients by central differences, and the limit."""

from __future__ import annotations

import copy
import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

import declarative as dl

F64 = torch.float64

LP = """layer transport
dim n
param c[n]
param total
var x[n]
var slack nonneg
minimize c' @ x + 0.7 * slack
subject to
  sum(x) + slack == total
  0 <= x <= 1
output x, slack, value as cost
"""
ABSOLUTE = """layer absolute
dim n
param c[n]
var x[n]
minimize c' @ x + norm1(x) + max(x)
subject to
  -1 <= x <= 1
"""
QUADRATIC = """layer quadratic
param c[3]
param Q[2, 3]
var x[3]
minimize sum_squares(Q @ x) + c' @ x
subject to
  sum(x) == 1
  x >= 0
"""
CONE = """layer ball
param c[4]
var x[4]
var X[2, 2] symmetric
minimize c' @ x + sum(X)
subject to
  norm2(x) <= 1
  sum(x) == 0.5
  X >= -1
  trace(X) == c[0]
  norm2(x[0..1]) <= 0.6
output x, X
"""
SHIFTED = """layer shifted
param c[3]
var x[3]
var y[3]
minimize c' @ x
subject to
  y == 2 * x + 1
  norm2(y) <= 2
output x, y
"""


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def half_squares(mu: float, *variables: cp.Variable) -> cp.Expression:
    return mu / 2 * sum(cp.sum_squares(v) for v in variables)


def solved(objective: cp.Expression, constraints: list, *variables: cp.Variable) -> list[np.ndarray]:
    problem = cp.Problem(cp.Minimize(objective), constraints)
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    return [np.asarray(v.value) for v in variables]


def transport(mu: float, c: Tensor, total: Tensor) -> list[np.ndarray]:
    x, slack = cp.Variable(len(c)), cp.Variable(nonneg=True)
    objective = c.numpy() @ x + 0.7 * slack + half_squares(mu, x, slack)
    return solved(objective, [cp.sum(x) + slack == float(total), x >= 0, x <= 1], x, slack)


def absolute(mu: float, c: Tensor) -> list[np.ndarray]:
    x = cp.Variable(len(c))
    return solved(c.numpy() @ x + cp.norm1(x) + cp.max(x) + half_squares(mu, x), [x >= -1, x <= 1], x)


def quadratic(mu: float, c: Tensor, Q: Tensor) -> list[np.ndarray]:
    x = cp.Variable(3)
    objective = cp.sum_squares(Q.numpy() @ x) + c.numpy() @ x + half_squares(mu, x)
    return solved(objective, [cp.sum(x) == 1, x >= 0], x)


def ball(mu: float, c: Tensor) -> list[np.ndarray]:
    x, X = cp.Variable(4), cp.Variable((2, 2), symmetric=True)
    cone = [cp.norm2(x) <= 1, cp.sum(x) == 0.5, X >= -1, cp.trace(X) == float(c[0]), cp.norm2(x[:2]) <= 0.6]
    return solved(c.numpy() @ x + cp.sum(X) + half_squares(mu, x, X), cone, x, X)


def shifted(mu: float, c: Tensor) -> list[np.ndarray]:
    x = cp.Variable(3)
    y = 2 * x + 1
    return [*solved(c.numpy() @ x + half_squares(mu, x, y), [cp.norm2(y) <= 2], x), np.asarray(y.value)]


CASES = {
    "lp": (LP, transport, [numbers(4), torch.tensor(1.7, dtype=F64)]),
    "auxiliary": (ABSOLUTE, absolute, [torch.tensor([1.2, -1.3, 0.3, -2.6, 1.3], dtype=F64)]),
    "qp": (QUADRATIC, quadratic, [0.1 * numbers(3), torch.tensor([[1.0, 0.2, -0.3], [0.1, 0.8, 0.4]], dtype=F64)]),
    "cone": (CONE, ball, [numbers(4)]),
    "shifted": (SHIFTED, shifted, [numbers(3)]),
}


def outputs(layer: dl.Layer, *data: Tensor) -> list[Tensor]:
    found = layer(*data)
    return [found] if isinstance(found, Tensor) else list(found)


@pytest.mark.parametrize("mu", [0.05, 1.3])
@pytest.mark.parametrize("name", CASES)
def test_it_is_the_smoothed_problem(name: str, mu: float) -> None:
    source, reference, data = CASES[name]
    layer = dl.compile(source)(smooth=mu)
    expected = reference(mu, *data)
    for found, wanted in zip(outputs(layer, *data), expected, strict=False):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_central_differences(name: str) -> None:
    source, _, data = CASES[name]
    layer = dl.compile(source)(smooth=0.4)
    weights = [numbers(*o.shape, seed=3) for o in outputs(layer, *data)]

    def loss(*given: Tensor) -> Tensor:
        return torch.stack([(w * o).sum() for w, o in zip(weights, outputs(layer, *given), strict=True)]).sum()

    leaves = [d.clone().requires_grad_() for d in data]
    gradients = torch.autograd.grad(loss(*leaves), leaves)
    assert max(g.abs().max() for g in gradients) > 1e-2
    for k, gradient in enumerate(gradients):
        direction = numbers(*data[k].shape, seed=7)
        ahead, behind = (loss(*(d + h * direction if i == k else d for i, d in enumerate(data))) for h in (1e-5, -1e-5))
        torch.testing.assert_close((gradient * direction).sum(), (ahead - behind) / 2e-5, rtol=1e-4, atol=1e-5)


def test_the_remedy_of_diagnose_is_one() -> None:
    """A vertex has the gradient zero; the text names what to write; that has the gradient of the projection."""
    simplex = "layer vertex\nparam c[3]\nvar y[3] nonneg\nminimize c' @ y\nsubject to\n  sum(y) == 1\n"
    layer = dl.compile(simplex)()
    c = torch.tensor([1.0, 1.2, 3.0], dtype=F64, requires_grad=True)
    (zero,) = torch.autograd.grad(layer(c)[0], c)
    assert zero.abs().max() == 0
    (text,) = layer.diagnose(c).meaning[0]
    assert text.startswith("piecewise constant in c")
    assert "`layer.smooth = 1e-2`" in text
    layer.smooth = 0.5
    assert layer.diagnose(c, finite_differences=True).holds
    torch.testing.assert_close(layer(c), torch.tensor([0.7, 0.3, 0.0], dtype=F64))
    (gradient,) = torch.autograd.grad(layer(c)[0], c)
    torch.testing.assert_close(gradient, torch.tensor([-1.0, 1.0, 0.0], dtype=F64))


def test_ties_are_broken_by_the_least_norm() -> None:
    """Of the solutions of a linear program, the one of least norm from some mu on; its cost is within the bound."""
    layer = dl.compile(LP)()
    c, total = torch.tensor([0.2, 0.2, 0.2, 0.9], dtype=F64), torch.tensor(1.5, dtype=F64)
    exact = layer(c, total)
    for mu in (1.0, 0.1, 1e-3, 1e-6):
        layer.smooth = mu
        smooth = layer(c, total)
        bias = smooth.cost - exact.cost
        largest = (exact.x.square().sum() - smooth.x.square().sum() - smooth.slack**2) * mu / 2
        assert -1e-9 <= bias <= largest + 1e-9
    torch.testing.assert_close(smooth.x, torch.tensor([0.5, 0.5, 0.5, 0.0], dtype=F64), rtol=0, atol=1e-6)
    layer.smooth = 0
    assert torch.equal(layer(c, total).x, exact.x)


def test_it_belongs_to_the_layer_and_to_compiled_graphs() -> None:
    source, _, data = CASES["lp"]
    layer = dl.compile(source)(smooth=0.3)
    expected = layer(*data).x
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(*data).x, expected)
    batched = layer(torch.stack([data[0], numbers(4, seed=9)]), data[1]).x
    torch.testing.assert_close(batched[0], expected, rtol=0, atol=1e-12)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*data).x, expected)
    layer.smooth = 3.0
    torch.testing.assert_close(compiled(*data).x, layer(*data).x)
    assert not torch.allclose(layer(*data).x, expected)


def test_refused_where_it_means_nothing() -> None:
    kind = dl.compile(LP)
    for wrong in (-1.0, float("nan"), float("inf"), True, "much"):
        with pytest.raises(dl.InputError, match=r"Transport: smooth is .*; expected a number, at least 0"):
            kind(smooth=wrong)
    closed = dl.compile("layer box\nparam c[2]\nvar x[2]\nminimize sum_squares(x - c)\nsubject to\n  -1 <= x <= 1\n")
    with pytest.raises(dl.InputError, match=r"Box: smooth is 0.1, but this layer is a closed form"):
        closed(smooth=0.1)
    circle = dl.compile("layer circle\nparam x\nparam y0\nvar y from y0\nsolve\n  x^2 + y^2 == 1\n")(smooth=0.1)
    with pytest.raises(dl.InputError, match=r"Circle: smooth is 0.1, but a solution of this problem is a stationary"):
        circle(torch.tensor(0.5), torch.tensor(0.5))
    cone = dl.compile(CONE)(smooth=0.1)
    with pytest.raises(Exception, match="which torch's compiler does not trace in a cone program"):
        torch.compile(cone, fullgraph=True, backend="aot_eager")(numbers(4))
