"""`project_on_simplex` by the compiled kernel, against bisection, closed values and differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from declarative.runtime.native import library
from declarative.runtime.simplex import project_on_simplex

pytestmark = pytest.mark.skipif(library.library() is None, reason="installed without a compiler")


@pytest.fixture(params=[2, 1, 0], ids=["best", "avx2", "baseline"], autouse=True)
def every_instruction_set(request: pytest.FixtureRequest) -> object:
    library.limit_instructions(request.param)
    yield
    library.limit_instructions(2)


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def by_bisection(v: Tensor, total: Tensor) -> Tensor:
    """The threshold as the root of a monotone function, to the last bit but a few."""
    low, high = v.amin(-1, keepdim=True) - total, v.amax(-1, keepdim=True)
    for _ in range(200):
        middle = (low + high) / 2
        too_low = (v - middle).clamp_min(0).sum(-1, keepdim=True) > total
        low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
    return (low + high) / 2


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 10), (2, 3, 33), (5, 1000), (2, 70001)])
def test_threshold_is_the_root(shape: tuple[int, ...]) -> None:
    v, total = 2 * normal(*shape), normal(*shape[:-1], 1, seed=1).abs()
    y, t, rest = project_on_simplex(v, total)
    torch.testing.assert_close(t, by_bisection(v, total), rtol=1e-13, atol=1e-13)
    exact = v - by_bisection(v, total)
    torch.testing.assert_close(y, exact.clamp_min(0), rtol=0, atol=2e-15)
    torch.testing.assert_close(rest, exact.clamp_max(0), rtol=0, atol=8e-15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 63, 64, 65])
def test_short_rows_side_by_side_are_each_as_alone(n: int, dtype: torch.dtype) -> None:
    v, total = 3 * normal(37, n, dtype=dtype), normal(37, 1, dtype=dtype, seed=1).abs() + 0.1
    v[5] += 1e4  # far from zero
    v[11, 0] = torch.nan
    total[17] = -1.0
    weight, pull = normal(37, n, dtype=dtype, seed=2), normal(37, 1, dtype=dtype, seed=3)

    def answer(rows: slice) -> list[Tensor]:
        leaf, level = v[rows].clone().requires_grad_(), total[rows].clone().requires_grad_()
        y, t, rest = project_on_simplex(leaf, level)
        gradients = torch.autograd.grad((y * weight[rows]).sum() + (t * pull[rows]).sum(), (leaf, level))
        return [y.detach(), t.detach(), rest.detach(), *gradients]

    whole = answer(slice(None))
    for row in range(37):
        for got, want in zip(whole, answer(slice(row, row + 1)), strict=True):
            assert torch.equal(got[row : row + 1].nan_to_num(7.0), want.nan_to_num(7.0))
    sound = [row for row in range(37) if row not in (11, 17)]
    assert bool(whole[0][[11, 17]].isnan().all())
    eps = torch.finfo(dtype).eps
    exact = by_bisection(v[sound].double(), total[sound].double())
    assert bool(((whole[1][sound].double() - exact).abs() <= 4 * eps * (1 + exact.abs())).all())


def test_float32_sums_are_exact_to_its_rounding() -> None:
    v = normal(4, 20000, dtype=torch.float32)
    y, t, _ = project_on_simplex(v, 50.0)
    torch.testing.assert_close(t.double(), by_bisection(v.double(), torch.tensor(50.0).double()), rtol=0, atol=1e-6)
    assert y.dtype == t.dtype == torch.float32


def test_first_and_second_derivatives() -> None:
    v, total = normal(3, 9).requires_grad_(), normal(3, 1, seed=1).abs().requires_grad_()
    assert torch.autograd.gradcheck(lambda v, s: tuple(project_on_simplex(v, s)), (v, total))
    assert torch.autograd.gradgradcheck(lambda v, s: tuple(project_on_simplex(v, s)), (v, total))


def test_shared_total_collects_the_sum() -> None:
    v, total = normal(4, 9), torch.tensor([1.5], dtype=torch.float64, requires_grad=True)
    (shared,) = torch.autograd.grad(project_on_simplex(v, total).y[:, 0].sum(), total)
    rows = total.detach().expand(4, 1).clone().requires_grad_()
    (own,) = torch.autograd.grad(project_on_simplex(v, rows).y[:, 0].sum(), rows)
    assert own.abs().sum() > 0
    torch.testing.assert_close(shared, own.sum(0))


def test_transforms_and_forward_mode() -> None:
    v, direction = normal(4, 6), normal(4, 6, seed=2)
    mapped = torch.func.vmap(lambda row: project_on_simplex(row).y)(v)
    torch.testing.assert_close(mapped, project_on_simplex(v).y)
    jacobian = torch.func.jacrev(lambda row: project_on_simplex(row).y)(v[0])
    with forward_ad.dual_level():
        pushed = forward_ad.unpack_dual(project_on_simplex(forward_ad.make_dual(v[0], direction[0])).y).tangent
    torch.testing.assert_close(pushed, jacobian @ direction[0])


def test_an_entry_at_the_threshold_counts_as_support() -> None:
    v = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64, requires_grad=True)
    y = project_on_simplex(v).y
    (gradient,) = torch.autograd.grad(y[0], v)
    assert gradient.tolist() == [0.5, -0.5, 0.0]


def test_no_projection_is_nan() -> None:
    bad = torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [torch.inf, 0.0]])
    y = project_on_simplex(bad, torch.tensor([[-1.0], [1.0], [1.0]])).y
    assert y.isnan().all()
    assert project_on_simplex(bad[:1], 0.0).y.tolist() == [[0.0, 0.0]]


def test_batches_broadcast() -> None:
    v, total = normal(6), normal(3, 1, seed=4).abs()
    projected = project_on_simplex(v, total)
    for got, s in zip(projected.y, total, strict=True):
        torch.testing.assert_close(got, project_on_simplex(v, float(s)).y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_between_the_threshold_and_an_entry_end(dtype: torch.dtype) -> None:
    """Entries on a grid of tenths meet the threshold up to rounding, on either side of it."""
    v = torch.randint(-10, 11, (4000, 7), generator=torch.Generator().manual_seed(0)).to(dtype) / 10
    y, threshold, _ = project_on_simplex(v, torch.ones(4000, 1, dtype=dtype))
    torch.testing.assert_close(y.sum(-1), torch.ones(4000, dtype=dtype))
    torch.testing.assert_close(y, (v - threshold).clamp_min(0))


def test_without_the_rest_it_is_the_same() -> None:
    v = normal(3, 20).requires_grad_()
    whole, lean = project_on_simplex(v), project_on_simplex(v, rest=False)
    assert torch.equal(whole.y, lean.y)
    assert torch.equal(whole.threshold, lean.threshold)
    assert lean.rest.shape == (3, 0)
    pulled = [torch.autograd.grad((p.y * normal(3, 20, seed=1)).sum() + p.threshold.sum(), v)[0] for p in (whole, lean)]
    assert torch.equal(*pulled)
    assert bool((pulled[0] != 0).any())
    assert torch.autograd.gradcheck(lambda v: tuple(project_on_simplex(v, rest=False)[:2]), (v,))
    assert torch.autograd.gradgradcheck(lambda v: tuple(project_on_simplex(v, rest=False)[:2]), (v,))


def test_strided_rows() -> None:
    whole = normal(6, 4, 9)
    for v in (whole[:, 1], whole[::2, :, 2:7], whole.transpose(-1, -2), whole[:, :1].expand(6, 4, 9), whole.mT[0]):
        weight = normal(*v.shape, seed=1)
        torch.testing.assert_close(project_on_simplex(v), project_on_simplex(v.contiguous()))
        leaves = [whole.clone().requires_grad_() for _ in range(2)]
        view = leaves[0].as_strided(v.shape, v.stride(), v.storage_offset())
        copy = leaves[1].as_strided(v.shape, v.stride(), v.storage_offset()).contiguous()
        gradients = [
            torch.autograd.grad((project_on_simplex(x).y * weight).sum(), leaf)[0]
            for x, leaf in zip((view, copy), leaves, strict=True)
        ]
        torch.testing.assert_close(*gradients)
        assert bool((gradients[0] != 0).any())


def test_one_long_row_goes_to_threads_in_parts_that_do_not_depend_on_them() -> None:
    v, before = normal(1, 1_000_000, dtype=torch.float32), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaf = v.clone().requires_grad_()
            y, t, rest = project_on_simplex(leaf, 20.0)
            found.append((y, t, rest, torch.autograd.grad((y * v).sum(), leaf)[0]))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    torch.testing.assert_close(found[0][1].double(), by_bisection(v.double(), torch.tensor(20.0)), rtol=0, atol=1e-6)
