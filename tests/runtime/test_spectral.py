"""Semidefinite parts and singular-value shrinkage: values, and derivatives where spectra repeat, vanish or tie."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from declarative.runtime import semidefinite_parts, shrink_singular_values


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_svd(M: Tensor, r: Tensor) -> Tensor:
    U, s, Vh = torch.linalg.svd(M, full_matrices=False)
    return (U * (s - r[..., None]).clamp_min(0)[..., None, :]) @ Vh


def positive(A: Tensor) -> Tensor:
    return semidefinite_parts((A + A.mT) / 2)[0]


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (1, 5), (3, 3)])
def test_shrinkage_is_that_of_the_singular_values(shape: tuple[int, int]) -> None:
    M, r = normal(6, *shape), torch.linspace(0, 2, 6, dtype=torch.float64)
    torch.testing.assert_close(shrink_singular_values(M, r), by_svd(M, r))
    torch.testing.assert_close(shrink_singular_values(M.float(), r.float()).double(), by_svd(M, r), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "singular",
    [[2.0, 1.3, 0.2], [2.0, 2.0, 2.0], [2.0, 2.0, 0.1], [0.1, 0.1, 0.1], [2.0, 0.0, 0.0], [2.0, 2.0 - 1e-9, 0.3]],
    ids=str,
)
def test_derivatives_of_two_orders_whatever_repeats(singular: list[float]) -> None:
    left, right = torch.linalg.qr(normal(4, 3))[0], torch.linalg.qr(normal(3, 3, seed=1))[0]
    M = (left * torch.tensor(singular, dtype=torch.float64)) @ right
    inputs = (M.requires_grad_(), torch.tensor(0.7, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(shrink_singular_values, inputs)
    assert torch.autograd.gradgradcheck(shrink_singular_values, inputs)


@pytest.mark.parametrize("values", [[1.0, -0.5, 0.2], [1.0, 1.0, -1.0], [1.0, 1.0, 1.0], [-1.0, -1.0, -2.0]], ids=str)
def test_derivatives_of_the_semidefinite_part(values: list[float]) -> None:
    basis = torch.linalg.qr(normal(3, 3))[0]
    A = ((basis * torch.tensor(values, dtype=torch.float64)) @ basis.mT).requires_grad_()
    assert torch.autograd.gradcheck(positive, (A,))
    assert torch.autograd.gradgradcheck(positive, (A,))


def test_third_derivatives_equal_differences_of_the_second() -> None:
    A, B = normal(3, 3), normal(3, 3, seed=1)

    def second(t: Tensor) -> Tensor:
        return torch.func.grad(torch.func.grad(lambda t: (positive(A + t * B) * B).sum().sin()))(t)

    t, step = torch.tensor(0.3, dtype=torch.float64), 1e-5
    numeric = (second(t + step) - second(t - step)) / (2 * step)
    torch.testing.assert_close(torch.func.grad(second)(t), numeric, rtol=1e-6, atol=1e-6)


def test_parts_are_complementary_and_transforms_agree() -> None:
    A = normal(5, 4, 4)
    A = A + A.mT
    plus, minus = semidefinite_parts(A)
    torch.testing.assert_close(plus - minus, A)
    torch.testing.assert_close(plus @ minus, torch.zeros_like(A), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.func.vmap(positive)(A), plus)
    forward = torch.func.jvp(positive, (A,), (torch.ones_like(A),))[1]
    jacobian = torch.func.vmap(torch.func.jacrev(positive))(A)
    torch.testing.assert_close(forward, jacobian.sum((-2, -1)))


def test_a_tie_has_the_mean_of_both_sides_and_nan_stays_in_its_instance() -> None:
    A = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    slope = torch.func.jacrev(positive)(A)
    assert float(slope[1, 1, 1, 1]) == pytest.approx(0.5)
    M = normal(2, 3, 3)
    M[1, 0, 0] = torch.nan
    found = shrink_singular_values(M, 0.5)
    assert bool(found[0].isfinite().all())
    assert bool(found[1].isnan().all())
