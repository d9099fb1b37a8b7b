"""`clip_to_level` by the compiled kernel, against the sorted search in torch, scipy and differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import scipy.optimize
import torch
from torch import Tensor
from torch.autograd import forward_ad

from declarative.runtime.native import coupling_row, library, rows
from declarative.runtime.thresholds import Clipped, clip_to_level

pytestmark = pytest.mark.skipif(library.library() is None, reason="installed without a compiler")

Operands = dict[str, Any]

SHAPES = [(1,), (6,), (4, 7), (2, 3, 33), (5, 700), (2, 1537)]


@pytest.fixture(params=[2, 1, 0], ids=["best", "avx2", "baseline"], autouse=True)
def every_instruction_set(request: pytest.FixtureRequest) -> Iterator[None]:
    library.limit_instructions(request.param)
    yield
    library.limit_instructions(2)


@contextmanager
def in_torch() -> Iterator[None]:
    """The same functions without the kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coupling_row, "serves", lambda row: False)
        yield


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def problem(
    shape: tuple[int, ...], shared: bool, seed: int = 0, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """A feasible row: weights of both signs, one of them zero, slopes of their signs, some bounds infinite."""
    own = shape[-1:] if shared else shape
    weights = normal(*own, seed=seed + 1)
    weights[..., 1:2] = 0
    lower, upper = -normal(*own, seed=seed + 2).abs(), normal(*own, seed=seed + 3).abs()
    within = lower + (upper - lower) * torch.rand(
        own, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    level = (weights * within).sum(-1, keepdim=True).expand(*shape[:-1], 1)
    lower[..., 2::5], upper[..., 3::5] = -math.inf, math.inf
    slopes = weights * (0.2 + normal(*own, seed=seed + 4).abs())
    parts = {"v": 2 * normal(*shape, seed=seed), "level": level.clone()}
    parts |= {"weights": weights, "slopes": slopes, "lower": lower, "upper": upper}
    return {name: part.to(dtype) for name, part in parts.items()}


def both(function: Callable[[], Clipped]) -> tuple[Clipped, Clipped]:
    found = function()
    with in_torch():
        return found, function()


@pytest.mark.parametrize("at_most", [False, True], ids=["equal", "at_most"])
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_what_the_sort_finds(shape: tuple[int, ...], shared: bool, at_most: bool) -> None:
    parts = problem(shape, shared)
    found, expected = both(lambda: clip_to_level(**parts, at_most=at_most))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    assert found.y.isfinite().all()


@pytest.mark.parametrize("at_most", [False, True], ids=["equal", "at_most"])
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("shape", [(7,), (4, 9), (2, 3, 530), (40, 5)], ids=str)
def test_gradients_are_those_of_the_sort(shape: tuple[int, ...], shared: bool, at_most: bool) -> None:
    def gradients() -> tuple[Tensor, ...]:
        leaves = {name: part.clone().requires_grad_() for name, part in problem(shape, shared, seed=3).items()}
        y, t = clip_to_level(**leaves, at_most=at_most)
        weight = normal(*y.shape, seed=9)
        return torch.autograd.grad((weight * y).sum() + (weight[..., :1] * t).sum(), list(leaves.values()))

    found = gradients()
    with in_torch():
        expected = gradients()
    assert all(bool((g != 0).any()) for g in expected) or at_most
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_float32_keeps_its_precision() -> None:
    parts = problem((30, 500), shared=False, dtype=torch.float32)
    y, t = clip_to_level(**parts)
    exact = clip_to_level(**{name: part.double() for name, part in parts.items()})
    assert y.dtype == t.dtype == torch.float32
    torch.testing.assert_close(t.double(), exact.t, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(y.double(), exact.y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_it_minimises_the_separable_quadratic(seed: int) -> None:
    """min sum p/2 (y - v)^2 subject to a'y == b and bounds, by scipy's general solver."""
    v, a = normal(6, seed=seed), normal(6, seed=seed + 50)
    p, lower, upper = 0.3 + normal(6, seed=seed + 60).abs(), torch.full((6,), -0.5), torch.full((6,), 0.8)
    found = clip_to_level(v, 0.2, weights=a, slopes=a / p, lower=-0.5, upper=0.8).y
    by_scipy = scipy.optimize.minimize(
        lambda y: float((p.numpy() / 2 * (y - v.numpy()) ** 2).sum()),
        [0.0] * 6,
        jac=lambda y: p.numpy() * (y - v.numpy()),
        bounds=list(zip(lower.tolist(), upper.tolist(), strict=True)),
        constraints={"type": "eq", "fun": lambda y: a.numpy() @ y - 0.2, "jac": lambda y: a.numpy()},
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    torch.testing.assert_close(found, torch.as_tensor(by_scipy.x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("at_most", [False, True], ids=["equal", "at_most"])
def test_derivatives_of_two_orders_by_differences(at_most: bool) -> None:
    parts = problem((3, 6), shared=False, seed=5)
    parts["lower"], parts["upper"] = parts["lower"].clamp_min(-9), parts["upper"].clamp_max(9)
    names = list(parts)
    leaves = tuple(part.clone().requires_grad_() for part in parts.values())

    def function(*given: Tensor) -> tuple[Tensor, ...]:
        return tuple(clip_to_level(**dict(zip(names, given, strict=True)), at_most=at_most))

    assert torch.autograd.gradcheck(function, leaves, atol=1e-6)
    assert torch.autograd.gradgradcheck(function, leaves, atol=1e-5)


def test_numbers_a_row_and_one_for_all_collect_sums() -> None:
    v = normal(5, 600)
    upper, cap = torch.full((5, 1), 0.01, dtype=torch.float64), torch.tensor(0.01, dtype=torch.float64)
    weight = normal(5, 600, seed=1)
    gradients = []
    for bound in (upper, cap, torch.full_like(v, 0.01)):
        leaf = bound.clone().requires_grad_()
        (clip_to_level(v, 1.0, lower=0.0, upper=leaf).y * weight).sum().backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[0], gradients[2].sum(-1, keepdim=True))
    torch.testing.assert_close(gradients[1], gradients[2].sum())
    assert gradients[2].abs().sum() > 0


def test_strided_rows_are_read_where_they_are() -> None:
    v = normal(40, 9)
    plain = clip_to_level(v[::2, 1:8].contiguous(), 1.0, lower=0.0, upper=0.4)
    torch.testing.assert_close(clip_to_level(v[::2, 1:8], 1.0, lower=0.0, upper=0.4), plain)
    assert rows.operand(v[::2, 1:8], 20, torch.Size((20,))).kept.data_ptr() == v[::2, 1:8].data_ptr()  # type: ignore[union-attr]
    transposed = v[::2, 1:8].contiguous().T.contiguous().T
    torch.testing.assert_close(clip_to_level(transposed, 1.0, lower=0.0, upper=0.4), plain)
    blocks = normal(3, 4, 5, 6)
    for view in (blocks[:, 1], blocks[:, :, 2], blocks.transpose(0, 1), blocks[:, :1].expand(3, 4, 5, 6)):
        torch.testing.assert_close(
            clip_to_level(view, 1.0, lower=0.0, upper=0.4), clip_to_level(view.contiguous(), 1.0, lower=0.0, upper=0.4)
        )


def test_expanded_cotangents_and_partly_shared_operands() -> None:
    v, upper = normal(3, 4, 5), (0.2 + normal(4, 5, seed=1).abs()).requires_grad_()
    (found,) = torch.autograd.grad(clip_to_level(v, 1.0, lower=0.0, upper=upper).y[..., 0].sum(), upper)
    whole = upper.detach().expand(3, 4, 5).clone().requires_grad_()
    (own,) = torch.autograd.grad(clip_to_level(v, 1.0, lower=0.0, upper=whole).y[..., 0].sum(), whole)
    torch.testing.assert_close(found, own.sum(0))
    leaf = v.clone().requires_grad_()
    (zero,) = torch.autograd.grad(clip_to_level(leaf, 1.0, lower=0.0, upper=0.4).y.sum(), leaf)
    torch.testing.assert_close(zero, torch.zeros_like(v))


def test_rows_without_a_solution_are_nan_and_alone() -> None:
    v = normal(6, 8)
    level = torch.ones(6, 1, dtype=torch.float64)
    upper = torch.full((6, 8), 0.5, dtype=torch.float64)
    v[0, 3], v[1, 5], level[2], upper[3, 0], level[4] = math.nan, math.inf, 9.0, -1.0, -0.1
    leaf = v.clone().requires_grad_()
    y, t = clip_to_level(leaf, level, lower=0.0, upper=upper)
    assert y.isnan().all(-1).tolist() == [True] * 5 + [False]
    assert t.isnan()[:, 0].tolist() == [True] * 5 + [False]
    (gradient,) = torch.autograd.grad((y * normal(6, 8, seed=2)).sum(), leaf)
    assert (gradient[:5] == 0).all()
    torch.testing.assert_close(y[5], clip_to_level(v[5], 1.0, lower=0.0, upper=0.5).y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_end_and_agree(dtype: torch.dtype) -> None:
    """Entries on a coarse grid meet their bounds exactly; the entries at a bound count as off it, as in torch."""
    v = torch.randint(-8, 9, (3000, 6), generator=torch.Generator().manual_seed(0)).to(dtype) / 4
    weight = normal(3000, 6, dtype=dtype, seed=1)

    def answer() -> tuple[Tensor, ...]:
        leaf = v.clone().requires_grad_()
        y, t = clip_to_level(leaf, 1.0, lower=0.0, upper=0.5)
        return y, t, torch.autograd.grad((y * weight).sum(), leaf)[0]

    found = answer()
    with in_torch():
        expected = answer()
    torch.testing.assert_close(found[0], expected[0])
    # The quarter grid makes roots and ties exact where a power of two of entries is free.
    free = ((v - expected[1] >= 0) & (v - expected[1] <= 0.5)).sum(-1)
    exact = (free == 1) | (free == 2) | (free == 4)
    assert int(exact.sum()) > 300
    torch.testing.assert_close(found[2][exact], expected[2][exact])
    torch.testing.assert_close(found[1][exact], expected[1][exact])


def test_plateaus_take_the_same_root() -> None:
    """Where nothing moves at the level the multiplier is not unique: the right end of the interval, as in torch."""
    v = torch.tensor([[3.0, 2.0, -1.0, -2.0], [3.0, 2.0, -1.0, -2.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    level = torch.tensor([[1.0], [2.0], [0.0]], dtype=torch.float64)
    found, expected = both(lambda: clip_to_level(v, level, lower=0.0, upper=0.5))
    torch.testing.assert_close(found, expected)
    assert found.t[:, 0].tolist() == [1.5, -2.5, 1.0]


@pytest.mark.parametrize("spread", [1.0, 1e6, 1e-6])
def test_hard_breakpoints_end(spread: float) -> None:
    """Geometric breakpoints and slopes over many orders, where a plain Newton method alternates."""
    n = 400
    v = (
        torch.exp(torch.linspace(-12, 12, n, dtype=torch.float64))
        * torch.where(torch.arange(n) % 2 == 0, 1, -1)
        * spread
    )
    slopes = torch.exp(torch.linspace(8, -8, n, dtype=torch.float64))
    width = spread * torch.exp(torch.linspace(-10, 6, n, dtype=torch.float64))
    for share in (0.001, 0.3, 0.7, 0.999):
        level = width.sum() * share
        parts = {"level": level[None], "slopes": slopes, "lower": 0.0, "upper": width}
        found, expected = both(lambda parts=parts: clip_to_level(v, **parts))  # type: ignore[misc]
        torch.testing.assert_close(found.y.sum(), level, rtol=1e-9, atol=0)
        torch.testing.assert_close(found.y, expected.y, rtol=1e-7, atol=1e-9 * spread)


def test_threads_do_not_change_the_answer() -> None:
    """Long rows go to threads in parts, and what rows share is summed in fixed shares."""
    n, before = 200_000, torch.get_num_threads()
    v = normal(2, n, dtype=torch.float32)
    outcomes = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaf, upper = v.clone().requires_grad_(), torch.full((n,), 0.01).requires_grad_()
            y, t = clip_to_level(leaf, 5.0, lower=0.0, upper=upper)
            outcomes.append((y.detach(), t.detach(), *torch.autograd.grad((y * v).sum(), (leaf, upper))))
    finally:
        torch.set_num_threads(before)
    for other in outcomes[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outcomes[0], other, strict=True))
    torch.testing.assert_close(outcomes[0][0].double().sum(-1), torch.full((2,), 5.0).double(), rtol=1e-5, atol=0)


def test_a_row_of_a_million() -> None:
    v = normal(1_000_000)
    y, t = clip_to_level(v, 1000.0, lower=0.0, upper=0.01)
    torch.testing.assert_close(y.sum(), torch.tensor(1000.0, dtype=torch.float64))
    assert torch.equal(y, (v - t).clamp(0, 0.01))


def test_transforms_and_forward_mode_fall_back() -> None:
    v, direction = normal(4, 6), normal(4, 6, seed=2)

    def project(v: Tensor) -> Tensor:
        return clip_to_level(v, 1.0, lower=0.0, upper=0.5).y

    torch.testing.assert_close(torch.func.vmap(project)(v), project(v))
    jacobian = torch.func.jacrev(project)(v[0])
    with forward_ad.dual_level():
        pushed = forward_ad.unpack_dual(project(forward_ad.make_dual(v[0], direction[0]))).tangent
    torch.testing.assert_close(pushed, jacobian @ direction[0])
    assert clip_to_level(v[:0], 1.0, lower=0.0, upper=0.5).y.shape == (0, 6)


def test_the_kernel_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    call = library.call
    monkeypatch.setattr(library, "call", lambda name, fields: (called.append(name), call(name, fields)))
    leaf = normal(3, 5).requires_grad_()
    clip_to_level(leaf, 1.0, lower=0.0, upper=0.5).y[:, 0].sum().backward()
    assert called == ["coupling_row", "coupling_row_pullback"]
    assert coupling_row.serves(coupling_row.Row(leaf, 1.0, 1.0, 0.0, 0.5, 1.0))
