"""Entropies and powers under upper bounds: masks, caps of zero and sums at their limits; entmax by its sort."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

import declarative as dl
from declarative.runtime.curves import Curve, curve_to_level

D = torch.float64
CAPPED = """
layer capped
dim n
param x[n]
param u[n] nonneg
param s nonneg
var y[n]
maximize x @ y + sum(entr(y))
subject to
  c: sum(y) == s
  m: y <= u
output y
"""
ENTMAX = """
layer entmax
dim n
param x[n]
var y[n]
maximize x @ y - 4/3 * sum(y^1.5)
subject to
  c: sum(y) == 1
output y
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def capped(on_failure: str = "raise") -> dl.Layer:
    return dl.compile(dl.parse_program(CAPPED))(on_failure=on_failure)


def draw(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=D)


@pytest.mark.parametrize("allowed", [[0], [4], [1, 3], [0, 2, 3], [0, 1, 2, 3, 4]])
def test_a_mask_is_the_softmax_of_what_it_leaves(allowed: list[int]) -> None:
    x, bar = draw(3, 5).requires_grad_(), draw(3, 5, seed=1)
    mask = torch.zeros(5, dtype=D)
    mask[allowed] = 1
    y = capped()(x, mask, 1.0)
    expected = torch.zeros_like(x).index_copy(-1, torch.tensor(allowed), torch.softmax(x[:, allowed], -1))
    torch.testing.assert_close(y, expected, rtol=1e-13, atol=1e-15)
    found, wanted = (torch.autograd.grad((bar * of).sum(), x, retain_graph=True)[0] for of in (y, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


def test_a_cap_of_zero_has_the_derivative_of_opening_it() -> None:
    layer, x = capped(), draw(5)
    u = torch.tensor([0.5, 0.0, 1.0, 0.3, 0.0], dtype=D, requires_grad=True)
    found = torch.autograd.functional.jacobian(lambda v: layer(x, v, 1.0), u)
    step = 1e-7
    for i in range(5):
        opened = u.detach() + step * torch.eye(5, dtype=D)[i]
        torch.testing.assert_close(
            found[:, i], (layer(x, opened, 1.0) - layer(x, u.detach(), 1.0)) / step, rtol=0, atol=1e-5
        )


def test_the_multiplier_of_a_cap_of_zero_is_infinite_and_of_the_others_finite() -> None:
    solution = capped().solve(draw(3), torch.tensor([0.0, 0.1, 1.0], dtype=D), 1.0)
    assert solution.duals["m"].tolist()[0] == math.inf
    assert bool(solution.duals["m"][1:].isfinite().all())
    assert float(solution.residuals) < 1e-14


def test_caps_below_the_sum_are_infeasible_and_their_neighbours_are_solved() -> None:
    x = draw(3, 4)
    u = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.5, 0.0, 0.6, 0.1], [0.0, 0.0, 0.0, 0.0]], dtype=D)
    solution = capped().solve(x, u, 1.0)
    assert [dl.Status(int(s)).label for s in solution.status] == ["infeasible", "solved", "infeasible"]
    torch.testing.assert_close(solution.outputs[1], capped()(x[1], u[1], 1.0))
    assert bool(capped("nan")(x, u, 1.0)[::2].isnan().all())
    with pytest.raises(dl.SolveError, match="infeasible"):
        capped()(x, u, 1.0)


@pytest.mark.parametrize("u", [[0.25] * 4, [0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]])
def test_caps_that_add_up_to_the_sum_are_the_solution(u: list[float]) -> None:
    x, caps = draw(6, 4).requires_grad_(), torch.tensor(u, dtype=D)
    y = capped()(x, caps, 1.0)
    torch.testing.assert_close(y, caps.expand(6, 4), rtol=1e-14, atol=1e-15)
    (slope,) = torch.autograd.grad(y[:, 0].sum(), x)
    assert bool(slope.isfinite().all())


@pytest.mark.parametrize("cap", [1.0, 7.0, 1e30, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_loose_caps_change_nothing(cap: float, dtype: torch.dtype, scale: float) -> None:
    x = draw(8, 50, scale=scale).to(dtype)
    y = curve_to_level(x, 1.0, upper=cap).y
    # The scores less the multiplier are exact to an eps of the scores, so are the logarithms of the shares; beside a
    # share of one, which its cap may hold, the others are known to an eps of it.
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(y, torch.softmax(x, -1), rtol=4 * eps * max(1.0, float(x.abs().max())), atol=eps)


def test_a_sum_of_zero_is_nothing_with_the_shares_for_derivatives() -> None:
    x, s = draw(4), torch.zeros((), dtype=D, requires_grad=True)
    y = capped()(x, torch.ones(4, dtype=D), s)
    assert float(y.max()) < 1e-150
    slopes = torch.stack([torch.autograd.grad(e, s, retain_graph=True)[0] for e in y])
    torch.testing.assert_close(slopes, torch.softmax(x, -1))


@pytest.mark.parametrize("shape", [(1,), (300,), (2, 3, 4), (0, 4), (2, 0, 4)])
def test_any_size_and_any_batch(shape: tuple[int, ...]) -> None:
    x = draw(*shape).requires_grad_()
    y = capped()(x, torch.ones(shape[-1], dtype=D), 1.0)
    torch.testing.assert_close(y, torch.softmax(x, -1))
    y.square().sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_transforms_agree_with_autograd() -> None:
    layer, x, u = capped(), draw(5, 4), torch.tensor([0.4, 0.0, 0.5, 0.3], dtype=D)

    def solved(v: Tensor) -> Tensor:
        return layer(v, u, 1.0)

    rows = torch.stack([torch.autograd.functional.jacobian(solved, row) for row in x])
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(torch.func.vmap(jacobian(solved))(x), rows)


def entmax_by_sort(x: Tensor) -> Tensor:
    """1.5-entmax of one vector by the exact algorithm over the sorted scores: tau from the mean and variance of the top
    k."""
    z = (x / 2).sort(descending=True).values
    k = torch.arange(1, len(z) + 1, dtype=D)
    mean, squares = z.cumsum(0) / k, z.square().cumsum(0) / k
    tau = mean - ((1 - k * (squares - mean**2)) / k).clamp_min(0).sqrt()
    size = int((tau <= z).sum())
    return (x / 2 - tau[size - 1]).clamp_min(0) ** 2


@pytest.mark.parametrize("n", [1, 2, 10, 200])
def test_powers_of_three_halves_are_entmax(n: int) -> None:
    # x'y - 4/3 sum y^1.5 differs from x'y + (1 - sum y^1.5) / 0.75 by a constant: the Tsallis entropy of exponent 1.5.
    x = draw(7, n)
    y = dl.compile(dl.parse_program(ENTMAX))()(x)
    torch.testing.assert_close(y, torch.stack([entmax_by_sort(row) for row in x]), rtol=1e-12, atol=1e-14)
    if n == 200:
        assert bool((y == 0).any())


def test_the_derivative_of_sparse_entmax() -> None:
    layer, x = dl.compile(dl.parse_program(ENTMAX))(), draw(3, 6).requires_grad_()
    y = layer(x)
    assert bool((y == 0).any())
    assert torch.autograd.gradcheck(layer, (x,))
    # Its closed form is diag(g) - gg'/sum(g) with g the square roots of the shares.
    g = y[0].detach().sqrt()
    expected = torch.diag(g) - torch.outer(g, g) / g.sum()
    torch.testing.assert_close(torch.autograd.functional.jacobian(layer, x.detach()[0]), expected)


@pytest.mark.parametrize("exponent", [1.0, 1.1, 1.5, 1.9])
@pytest.mark.parametrize("seed", range(5))
def test_the_root_is_that_of_a_bracketing_search(exponent: float, seed: int) -> None:
    z, a, u = draw(6, seed=seed), draw(6, seed=seed + 50), draw(6, seed=seed + 100).abs() + 0.1
    d = a * (draw(6, seed=seed + 150).abs() + 0.5)
    curve = Curve(exponent)

    def total(t: float) -> float:
        return float((a * torch.minimum(curve.entries(z - t * d), u)).sum())

    level = (total(-0.7) + total(1.3)) / 2
    found = curve_to_level(z, level, exponent=exponent, weights=a, slopes=d, upper=u)
    expected = brentq(lambda t: total(t) - level, -0.7, 1.3, xtol=1e-14)
    assert float(found.t) == pytest.approx(expected, abs=1e-10)
    assert float((a * found.y).sum()) == pytest.approx(level, abs=1e-12)
