"""The root of one coupling row against cvxpy, and its derivatives, where bounds are missing, equal or met exactly."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from declarative.runtime import clip_to_level

N = 6


def data(seed: int) -> tuple[dict[str, np.ndarray], bool]:
    """v, p, a, b, bounds with infinite and equal ones, a zero weight; and whether the row is an inequality."""
    rng = np.random.default_rng(seed)
    v, p, a = 2 * rng.normal(size=N), rng.uniform(0.2, 3, N), rng.normal(size=N)
    lower, upper = -rng.uniform(0, 1, N), rng.uniform(0, 1, N)
    if seed % 3 == 0:
        a[0] = 0
    if seed % 2:
        upper[:2] = np.inf
    if seed % 5 == 0:
        lower[3:] = -np.inf
    if seed % 7 == 0:
        upper[4] = lower[4] = 0.1
    return {"v": v, "b": np.array([2 * rng.normal()]), "a": a, "p": p, "lower": lower, "upper": upper}, seed % 4 == 1


def solve(
    at_most: bool, v: Tensor, b: Tensor, a: Tensor, p: Tensor, lower: Tensor, upper: Tensor
) -> tuple[Tensor, ...]:
    return clip_to_level(v, b, weights=a, slopes=a / p, lower=lower, upper=upper, at_most=at_most)


@pytest.mark.parametrize("seed", range(40))
def test_it_solves_the_quadratic_program(seed: int) -> None:
    d, at_most = data(seed)
    y = cp.Variable(N)
    low, high = np.isfinite(d["lower"]), np.isfinite(d["upper"])
    row = d["a"] @ y <= d["b"][0] if at_most else d["a"] @ y == d["b"][0]
    objective = cp.Minimize(cp.sum(cp.multiply(d["p"] / 2, cp.square(y - d["v"]))))
    problem = cp.Problem(objective, [row, y[low] >= d["lower"][low], y[high] <= d["upper"][high]])
    problem.solve(cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    found, t = solve(at_most, *(torch.as_tensor(x) for x in d.values()))
    if problem.status.startswith("infeasible"):
        assert bool(found.isnan().all())
        assert bool(t.isnan())
        return
    np.testing.assert_allclose(found.numpy(), y.value, atol=1e-6)
    assert float(t) == pytest.approx(float(row.dual_value), abs=1e-5)


@pytest.mark.parametrize("seed", [s for s in range(24) if s % 7])
def test_derivatives_of_two_orders(seed: int) -> None:
    d, at_most = data(seed)
    values = {k: torch.as_tensor(x) for k, x in d.items()}
    if bool(solve(at_most, *values.values())[0].isnan().any()):
        pytest.skip("infeasible")
    finite = {k: values[k].isfinite() for k in ("lower", "upper")}

    def function(v: Tensor, b: Tensor, a: Tensor, p: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, ...]:
        full = [values[k].masked_scatter(finite[k], x) for k, x in (("lower", lower), ("upper", upper))]
        return solve(at_most, v, b, a, p, *full)

    leaves = [values[k][finite[k]] if k in finite else values[k] for k in values]
    inputs = tuple(x.clone().requires_grad_() for x in leaves)
    assert torch.autograd.gradcheck(function, inputs, atol=1e-6)
    assert torch.autograd.gradgradcheck(function, inputs, atol=1e-5)


def test_weakly_active_entries_count_as_free() -> None:
    v = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda v: clip_to_level(v, 1.0, lower=0).y)(v)
    torch.testing.assert_close(jacobian, torch.eye(3, dtype=torch.float64) - 1 / 3)


def test_the_edges_of_what_is_feasible() -> None:
    """A level at the largest sum, though ten times 0.1 is not one in floating point; just above it there is nothing."""
    v = torch.linspace(-1, 1, 10, dtype=torch.float64)
    torch.testing.assert_close(clip_to_level(v, 1.0, lower=0, upper=0.1).y, torch.full_like(v, 0.1))
    torch.testing.assert_close(clip_to_level(v, 0.0, lower=0).y, torch.zeros_like(v))
    assert bool(clip_to_level(v, 1.0 + 1e-9, lower=0, upper=0.1).y.isnan().all())
    assert bool(clip_to_level(v, -1e-9, lower=0).y.isnan().all())


@pytest.mark.parametrize("n", [1, 2, 257])
def test_transforms_and_sizes(n: int) -> None:
    v = torch.randn((3, n), generator=torch.Generator().manual_seed(n), dtype=torch.float64)

    def project(v: Tensor) -> Tensor:
        return clip_to_level(v, 0.4 * n, lower=0, upper=1).y

    whole = project(v)
    torch.testing.assert_close(whole.sum(-1), torch.full((3,), 0.4 * n, dtype=torch.float64))
    torch.testing.assert_close(torch.func.vmap(project)(v), whole)
    direction = torch.ones_like(v)
    torch.testing.assert_close(torch.func.jvp(project, (v,), (direction,))[1], torch.zeros_like(v))
