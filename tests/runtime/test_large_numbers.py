"""Closed forms over numbers of very different sizes: a common offset costs nothing, a large spread gives the vertex."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from declarative.runtime.curves import curve_to_level
from declarative.runtime.native import library
from declarative.runtime.simplex import project_on_simplex
from declarative.runtime.thresholds import clip_between_levels, clip_to_level
from declarative.runtime.tilting import tilted_softmax

WIDTH = {torch.float32: 2.0**-3, torch.float64: 2.0**-12}
"""A spacing of numbers that an offset of `OFFSET` leaves exact."""
OFFSET = {torch.float32: 2.0**20, torch.float64: 2.0**40}

PROJECTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "simplex": lambda v: project_on_simplex(v, 1.5).y,
    "capped simplex": lambda v: clip_to_level(v, 2.5, lower=0, upper=1).y,
    "upper bounds": lambda v: clip_to_level(v, -3.0, upper=0.5).y,
    "at most": lambda v: clip_to_level(v, 2.5, lower=0, upper=1, at_most=True).y,
    "between": lambda v: clip_between_levels(v, 0.5, 2.5, lower=0, upper=1).y,
    "entmax": lambda v: curve_to_level(v, 1.0, exponent=1.5).y,
    "capped softmax": lambda v: curve_to_level(v, 1.0, upper=0.3).y,
}


@pytest.fixture(params=["kernels", "torch"], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(library, "serves", lambda tensors: False)
    elif library.library() is None:
        pytest.skip("installed without a compiler")
    return str(request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    found: torch.dtype = request.param
    return found


def on_a_grid(dtype: torch.dtype, *shape: int, seed: int = 0) -> Tensor:
    """Normal numbers, rounded so that offsets are exact."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((drawn / WIDTH[dtype]).round() * WIDTH[dtype]).to(dtype)


def with_gradient(of: Callable[[Tensor], Tensor], v: Tensor, bar: Tensor) -> tuple[Tensor, Tensor]:
    leaf = v.clone().requires_grad_()
    y = of(leaf)
    return y.detach(), torch.autograd.grad((y * bar).sum(), leaf)[0]


@pytest.mark.parametrize("n", [8, 300])
@pytest.mark.parametrize("name", PROJECTIONS)
def test_a_common_offset_changes_nothing(name: str, n: int, dtype: torch.dtype) -> None:
    v, bar, of = on_a_grid(dtype, 16, n), on_a_grid(dtype, 16, n, seed=1), PROJECTIONS[name]
    y, gradient = with_gradient(of, v, bar)
    moved, gradient_there = with_gradient(of, v + OFFSET[dtype], bar)
    if name in ("at most", "between"):  # which do not bind in every row without the offset
        y, gradient = with_gradient(PROJECTIONS["capped simplex"], v, bar)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(moved, y, rtol=0, atol=16 * eps)
    torch.testing.assert_close(gradient_there, gradient, rtol=0, atol=200 * eps)
    assert bool((gradient != 0).any())


@pytest.mark.parametrize("budget", [-0.5, 0.1])
def test_an_offset_of_logits_under_a_budget_changes_nothing(budget: float, dtype: torch.dtype) -> None:
    logits, cost = on_a_grid(dtype, 16, 8), on_a_grid(dtype, 16, 8, seed=1)
    limit, bar = torch.full((16, 1), budget, dtype=dtype), on_a_grid(dtype, 16, 8, seed=2)

    def of(v: Tensor) -> Tensor:
        return tilted_softmax(v, cost, cost, limit).y

    here, there = with_gradient(of, logits, bar), with_gradient(of, logits + OFFSET[dtype], bar)
    torch.testing.assert_close(there, here, rtol=0, atol=200 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("far", [1e4, 1e8, 1e15, 1e30])
def test_the_largest_entry_takes_the_simplex(far: float, dtype: torch.dtype) -> None:
    v = torch.tensor([[far, -far, 0.0], [-far, far / 2, far]], dtype=dtype)
    y, gradient = with_gradient(lambda v: project_on_simplex(v).y, v, torch.tensor([[1.0, 2.0, 3.0]], dtype=dtype))
    assert y.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert gradient.tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("far", [1e4, 1e8, 1e15])
@pytest.mark.parametrize(
    ("total", "expected"), [(0.0, [0, 0, 0, 0]), (2.0, [1, 1, 0, 0]), (2.5, [1, 1, 0, 0.5]), (4.0, [1, 1, 1, 1])]
)
def test_the_largest_entries_fill_their_caps(
    total: float, expected: list[float], far: float, dtype: torch.dtype
) -> None:
    v = torch.tensor([far, 3 * far, -2 * far, 0.5 * far], dtype=dtype)
    for of in (
        lambda v: clip_to_level(v, total, lower=0, upper=1),
        lambda v: clip_to_level(v, total, lower=0, upper=1, weights=torch.ones_like(v)),
    ):
        assert of(v).y.tolist() == expected


def test_entropies_and_powers_of_a_large_spread(dtype: torch.dtype) -> None:
    v = torch.tensor([1e9, 3e9, -2e9, 0.0], dtype=dtype)
    assert curve_to_level(v, 1.0, exponent=1.5).y.tolist() == [0, 1, 0, 0]
    capped = curve_to_level(v, 1.0, upper=0.4).y
    torch.testing.assert_close(capped, torch.tensor([0.4, 0.4, 0, 0.2], dtype=dtype))


def test_a_weighted_row_holds_at_a_large_spread(dtype: torch.dtype) -> None:
    far = {torch.float32: 1e6, torch.float64: 1e14}[dtype]
    v = torch.tensor([far, -2 * far, far / 2], dtype=dtype).requires_grad_()
    a = torch.tensor([0.3, -1.2, 0.7], dtype=dtype).requires_grad_()
    y = clip_to_level(v, 0.1, weights=a, lower=-1, upper=1).y
    # Two entries are at their bounds, and the third makes the row hold: 0.3 - 1.2 y - 0.7 = 0.1.
    expected = torch.tensor([1, (0.1 - 0.3 + 0.7) / -1.2, -1], dtype=dtype)
    torch.testing.assert_close(y, expected, rtol=8 * torch.finfo(dtype).eps, atol=0)
    by_v, by_a = torch.autograd.grad(y[1], (v, a))
    third = float(expected[1])
    torch.testing.assert_close(by_v, torch.zeros_like(v), rtol=0, atol=1e-6)
    torch.testing.assert_close(by_a, torch.tensor([1, third, -1], dtype=dtype) / 1.2, rtol=0.1, atol=0)


def test_large_weighted_rows_solve_the_problem_to_the_rounding_of_their_data() -> None:
    """Against float64, whose rounding at these sizes is a millionth of an entry."""
    generator = torch.Generator().manual_seed(3)
    v, a = (torch.randn(64, 12, generator=generator) for _ in range(2))
    y = clip_to_level(1e5 * v, 0.3, weights=a, lower=-1, upper=1).y
    exact = clip_to_level(1e5 * v.double(), 0.3, weights=a.double(), lower=-1, upper=1).y
    torch.testing.assert_close((a.double() * y.double()).sum(-1), torch.full((64,), 0.3).double(), rtol=0, atol=2e-6)
    assert float((y.double() - exact).abs().amax()) < 2e-2


def test_water_over_large_floors(dtype: torch.dtype) -> None:
    floors = torch.tensor([1e8, 2e8, 3e8], dtype=dtype)
    assert clip_to_level(-floors, 3.0, slopes=torch.ones_like(floors), lower=0).y.tolist() == [3, 0, 0]


MASKED: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "simplex": (lambda v: project_on_simplex(v).y, 0.0),
    "capped simplex": (lambda v: clip_to_level(v, 1.5, lower=0, upper=1).y, 0.0),
    "lower bounds": (lambda v: clip_to_level(v, 1.0, lower=-0.25, upper=1).y, -0.25),
    "both signs": (lambda v: clip_to_level(v, 0.4, lower=-0.25, upper=1, weights=_signs(v)).y, -0.25),
    "entmax": (lambda v: curve_to_level(v, 1.0, exponent=1.5).y, 0.0),
}


def _signs(v: Tensor) -> Tensor:
    return torch.where(torch.arange(v.shape[-1]) % 3 == 1, -1.0, 1.0).to(v)


@pytest.mark.parametrize("n", [9, 200])
@pytest.mark.parametrize("name", MASKED)
def test_minus_infinity_masks_an_entry(name: str, n: int, dtype: torch.dtype) -> None:
    """It is what a number far below all others is, forward and backward."""
    of, least = MASKED[name]
    v, bar = on_a_grid(dtype, 5, n), on_a_grid(dtype, 5, n, seed=1)
    mask = torch.rand(5, n, generator=torch.Generator().manual_seed(2)) < 0.4
    y, gradient = with_gradient(of, v.masked_fill(mask, -math.inf), bar)
    low, low_gradient = with_gradient(of, v.masked_fill(mask, -1e4), bar)
    assert bool((y[mask] == least).all())
    assert bool((gradient[mask] == 0).all())
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(y, low, rtol=0, atol=32 * eps)
    torch.testing.assert_close(gradient, low_gradient, rtol=0, atol=200 * eps)


def test_masked_entries_in_second_derivatives() -> None:
    v = torch.tensor([0.3, -math.inf, 0.1, -0.2], dtype=torch.float64)
    for of in (lambda v: project_on_simplex(v).y, lambda v: clip_to_level(v, 1.5, lower=0, upper=1).y):
        leaf = v.clone().requires_grad_()
        (first,) = torch.autograd.grad(of(leaf).square().sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), leaf)
        assert bool(first.isfinite().all() & second.isfinite().all())
        assert first.detach()[1] == second[1] == 0
        assert float(second.abs().sum()) > 0


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_what_is_no_number_is_no_mask(bad: float, dtype: torch.dtype) -> None:
    v: Any = torch.tensor([[0.5, bad, 0.0], [0.5, 0.0, -math.inf], [-math.inf] * 3], dtype=dtype)
    for of in (lambda v: project_on_simplex(v).y, lambda v: clip_to_level(v, 1.0, lower=0, upper=1).y):
        y = of(v)
        assert y[[0, 2]].isnan().all()
        assert y[1].tolist() == [0.75, 0.25, 0]
    assert clip_to_level(v[1], 1.0, upper=1).y.isnan().all()  # masked, and no lower bound to be at


def test_no_entries(dtype: torch.dtype) -> None:
    v = torch.zeros(2, 0, dtype=dtype)
    assert project_on_simplex(v).threshold.isnan().all()
    assert project_on_simplex(v, 0.0).threshold.tolist() == [[0], [0]]
    assert clip_to_level(v, 1.0, lower=0).t.isnan().all()
    assert clip_to_level(v, 0.0, lower=0).t.tolist() == [[0], [0]]
    assert curve_to_level(v, 1.0).t.isnan().all()
    assert tilted_softmax(v, v, v, torch.ones(2, 1, dtype=dtype)).t.isnan().all()
