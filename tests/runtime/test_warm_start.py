"""Warm starts: the same answers in fewer iterations, never from a failure, another shape or another mode."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor

import declarative as dl

F64 = torch.float64

EQUILIBRIUM = """layer equilibrium
dim n, m
param W[n, n] learned
param U[n, m] learned
param x[m]
var z[n] from 0
solve
  z == tanh(W @ z + U @ x)
"""
WELL = """layer well
dim n
param a[n]
param s[n]
var x[n] from s
minimize locally sum(exp(x - a)) - sum(x) + 0.1 * sum_squares(x)
"""
CIRCLE = "layer circle\nparam x\nparam y0\nvar y from y0\nsolve\n  x^2 + y^2 == 1\n"
BARRIER = "layer barrier\nparam a\nparam s\nvar x from s\nminimize locally x - log(x - a)\n"


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=F64)


def equilibrium(**settings: object) -> dl.Layer:
    W = 0.8 * torch.linalg.qr(numbers(70, 70))[0]
    return dl.compile(EQUILIBRIUM)(W=W, U=numbers(70, 3, seed=1), **settings)


@pytest.mark.parametrize("solver", ["newton", "newton_cg", "lbfgs", "equilibrium", "anderson", "picard"])
def test_drifting_data_are_solved_alike_in_fewer_iterations(solver: str) -> None:
    root = solver in ("equilibrium", "anderson", "picard")
    cold = equilibrium() if root else dl.compile(WELL)()
    cold.solver = None if solver == "equilibrium" else solver
    warm = copy.deepcopy(cold)
    warm.warm_start = True
    data, steps = numbers(4, 3), {"cold": 0, "warm": 0}
    for call in range(5):
        moved = data + 1e-3 * call * numbers(4, 3, seed=2 + call)
        given = (moved,) if root else (moved, torch.zeros_like(moved))
        leaves = [g.requires_grad_() for g in given]
        first, second = cold.solve(*leaves), warm.solve(*leaves)
        torch.testing.assert_close(second.outputs, first.outputs, rtol=0, atol=1e-8)
        gradients = [torch.autograd.grad(s.outputs.square().sum(), leaves[0])[0] for s in (first, second)]
        torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-8)
        if call:
            steps["cold"] += int(first.iterations.sum())
            steps["warm"] += int(second.iterations.sum())
    assert steps["warm"] < 0.8 * steps["cold"]


def test_a_batch_of_another_size_starts_cold_and_comes_back_to_its_own() -> None:
    layer = equilibrium(warm_start=True)
    large, small = numbers(4, 3), numbers(2, 3, seed=5)
    cold = {t: equilibrium().solve(t) for t in (large, small)}
    for data, warm in ((large, False), (small, False), (large, True), (small, True)):
        solution = layer.solve(data)
        torch.testing.assert_close(solution.outputs, cold[data].outputs, rtol=0, atol=1e-8)
        assert bool((solution.iterations < cold[data].iterations).all()) is warm


def test_an_instance_that_failed_starts_cold() -> None:
    """The second instance gets the data of the first where its own are NaN: its start must not be their solution."""
    layer = dl.compile(CIRCLE)(on_failure="nan", warm_start=True)
    y0 = vector(0.9, -0.8)
    assert layer(vector(0.3, torch.nan), y0).isnan().tolist() == [False, True]
    torch.testing.assert_close(layer(vector(0.3, 0.6), y0), vector(0.91**0.5, -0.8))
    assert layer(vector(0.3, 1.5), y0).isnan().tolist() == [False, True]
    torch.testing.assert_close(layer(vector(0.3, 0.6), y0), vector(0.91**0.5, -0.8))


def test_a_start_that_leads_nowhere_is_given_up() -> None:
    layer = dl.compile(BARRIER)(warm_start=True)
    torch.testing.assert_close(layer(vector(0.0, 1.0), vector(0.5, 1.5)), vector(1.0, 2.0))
    # Below a the logarithm is not defined, and there the last solution of the first instance is now.
    torch.testing.assert_close(layer(vector(5.0, 1.1), vector(5.5, 1.5)), vector(6.0, 2.1))


def test_of_several_solutions_the_branch_of_the_last_one_is_followed() -> None:
    layer = dl.compile(CIRCLE)(warm_start=True)
    x = vector(0.6)
    torch.testing.assert_close(layer(x, vector(0.9)), vector(0.8))
    torch.testing.assert_close(layer(x, vector(-0.9)), vector(0.8))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # a copy starts cold
        assert other.warm_start
        torch.testing.assert_close(other(x, vector(-0.9)), vector(-0.8))
    layer.eval()  # and so does the other mode
    with torch.no_grad():
        torch.testing.assert_close(layer(x, vector(-0.9)), vector(-0.8))
        torch.testing.assert_close(layer(x, vector(0.9)), vector(-0.8))
    layer.train()
    torch.testing.assert_close(layer(x, vector(-0.9)), vector(0.8))
    torch.testing.assert_close(layer(x.float(), vector(-0.9).float()), vector(-0.8).float())  # and another dtype
    layer.warm_start = True  # setting it forgets
    torch.testing.assert_close(layer(x, vector(-0.9)), vector(-0.8))


def test_transforms_and_compiled_graphs_start_cold() -> None:
    layer = dl.compile(CIRCLE)(warm_start=True)
    x, up, down = vector(0.6, 0.3), vector(0.9, 0.9), vector(-0.9, -0.9)
    expected = layer(x, up)
    torch.testing.assert_close(torch.func.vmap(layer)(x, down), -expected)
    torch.testing.assert_close(layer(x, down), expected)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, down), -expected)
    torch.testing.assert_close(layer(x, down), expected)
    slope = torch.func.grad(lambda t: layer(t, up).sum())(x)
    torch.testing.assert_close(slope, -x / expected)
    jacobian = torch.func.jacrev(layer)(x, up)
    torch.testing.assert_close(jacobian, torch.diag(-x / expected))


def test_refused_where_it_has_no_place() -> None:
    box = "layer box\nparam c[2]\nvar x[2]\nminimize {}\nsubject to\n  -1 <= x <= 1\n  sum(x) <= 0.5{}\n"
    closed = dl.compile(box.format("sum_squares(x - c)", ""))
    with pytest.raises(
        dl.InputError, match=r"Box: warm_start is True, but this layer is a closed form; expected False"
    ):
        closed(warm_start=True)
    with pytest.raises(dl.InputError, match=r"warm_start is 'yes'; expected True or False"):
        closed(warm_start="yes")
    for objective, more in (("c' @ x", ""), ("c' @ x", "\n  norm2(x) <= 1"), ("locally sum(exp(x)) + c' @ x", "")):
        text = box.format(objective, more)
        kind = dl.compile(text.replace("var x[2]", "var x[2] from 0") if "locally" in objective else text)
        with pytest.raises(dl.InputError, match="an interior point method, which gains nothing from it"):
            kind(warm_start=True)
        layer = kind()
        with pytest.raises(dl.InputError, match="an interior point method, which gains nothing from it"):
            layer.warm_start = True
        assert not layer.warm_start
    local = dl.compile(WELL)(warm_start=True)
    local.gradient = "unrolled"
    with pytest.raises(dl.InputError, match="the gradient is 'unrolled'"):
        local(numbers(2), numbers(2))
    local.gradient, local.solver = "implicit", dl.GradientDescent(steps=3)
    with pytest.raises(dl.InputError, match="takes exactly 3 steps"):
        local(numbers(2), numbers(2))
