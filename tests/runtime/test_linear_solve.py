"""`linear_solve` against numpy, finite differences and the pseudo-inverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from declarative.runtime.linear_solve import linear_solve


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def symmetric(matrix: Tensor) -> Tensor:
    return matrix + matrix.mT


@pytest.mark.parametrize("is_symmetric", [True, False])
@pytest.mark.parametrize("order", [1, 7, 170])
def test_equals_numpy_at_every_order(order: int, is_symmetric: bool) -> None:
    matrix, right = random(6, order, order), random(6, order, seed=1)
    matrix = symmetric(matrix) if is_symmetric else matrix
    expected = np.stack([np.linalg.solve(k, r) for k, r in zip(matrix.numpy(), right.numpy(), strict=True)])
    solution = linear_solve(matrix, right, symmetric=is_symmetric)
    assert np.abs(solution.numpy() - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("of_matrix", "of_right"),
    [((), ()), ((), (4,)), ((3,), ()), ((3,), (5, 3)), ((2, 1), (3,)), ((3,), (2, 1)), ((0,), (0,))],
)
def test_batch_dimensions_broadcast(of_matrix: tuple[int, ...], of_right: tuple[int, ...]) -> None:
    matrix, right = symmetric(random(*of_matrix, 4, 4)), random(*of_right, 4, seed=1)
    expected = (torch.linalg.inv(matrix) @ right[..., None])[..., 0]
    solution = linear_solve(matrix, right, symmetric=True)
    assert solution.shape == expected.shape
    torch.testing.assert_close(solution, expected, rtol=1e-9, atol=1e-9)


def test_order_zero() -> None:
    assert linear_solve(random(3, 0, 0), random(3, 0)).shape == (3, 0)


@pytest.mark.parametrize("is_symmetric", [True, False])
def test_singular_gives_the_pseudo_inverse_whatever_the_scaling(is_symmetric: bool) -> None:
    """Rows of sizes 1e-4 to 1e4: the answer is the least-norm one of the matrix as given, not of a scaled one."""
    basis, other = random(5, 9, 6), random(5, 6, 9, seed=2)
    scale = torch.logspace(-2, 2, 9, dtype=torch.float64)
    matrix = basis @ basis.mT if is_symmetric else basis @ other
    matrix = scale[:, None] * matrix * scale
    right = (matrix @ random(5, 9, 1, seed=3))[..., 0]
    expected = np.stack(
        [np.linalg.lstsq(k, r, rcond=1e-13)[0] for k, r in zip(matrix.numpy(), right.numpy(), strict=True)]
    )
    solution = linear_solve(matrix, right, symmetric=is_symmetric)
    assert np.abs(solution.numpy() - expected).max() <= 1e-6 * np.abs(expected).max()


def test_zero_matrix_gives_zero() -> None:
    torch.testing.assert_close(
        linear_solve(torch.zeros(2, 3, 3, dtype=torch.float64), random(2, 3)), torch.zeros(2, 3).double()
    )


def test_ill_conditioned_instance_is_refined() -> None:
    """A Hilbert matrix of order 8, condition 1e10, against its exact integer inverse."""
    index = torch.arange(1, 9, dtype=torch.float64)
    hilbert = 1 / (index[:, None] + index - 1)
    exact = random(8)
    solution = linear_solve(hilbert, hilbert @ exact, symmetric=True)
    torch.testing.assert_close(solution, exact, rtol=0, atol=1e-4)
    torch.testing.assert_close(hilbert @ solution, hilbert @ exact, rtol=1e-14, atol=1e-14)


def test_nan_stays_in_its_instance() -> None:
    matrix, right = symmetric(random(4, 5, 5)), random(4, 5, seed=1)
    alone = linear_solve(matrix, right, symmetric=True)
    matrix[2, 1, 1] = torch.nan
    solution = linear_solve(matrix, right, symmetric=True)
    assert solution[2].isnan().all()
    assert torch.equal(solution[[0, 1, 3]], alone[[0, 1, 3]])


@pytest.mark.parametrize("is_symmetric", [True, False])
@pytest.mark.parametrize(("of_matrix", "of_right"), [((2,), (2,)), ((), (3,)), ((2,), (3, 2))])
def test_derivatives_of_two_orders(of_matrix: tuple[int, ...], of_right: tuple[int, ...], is_symmetric: bool) -> None:
    matrix, right = random(*of_matrix, 4, 4).requires_grad_(), random(*of_right, 4, seed=1).requires_grad_()

    def function(k: Tensor, r: Tensor) -> Tensor:
        return linear_solve(symmetric(k) if is_symmetric else k, r, symmetric=is_symmetric)

    assert gradcheck(function, (matrix, right), check_batched_grad=True, check_forward_ad=True)
    assert gradgradcheck(function, (matrix, right))


def test_function_transforms() -> None:
    matrix, right = random(3, 4, 4), random(3, 4, seed=1)
    expected = torch.linalg.inv(matrix)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(linear_solve, 1))(matrix, right), expected)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacfwd(linear_solve, 1))(matrix, right), expected)
    by_matrix = torch.func.vmap(torch.func.jacrev(linear_solve))(matrix, right)
    solution = (expected @ right[..., None])[..., 0]
    torch.testing.assert_close(by_matrix, -torch.einsum("bij,bk->bijk", expected, solution))
    over_columns = torch.func.vmap(linear_solve, in_dims=(None, 0))(matrix[0], right)
    torch.testing.assert_close(over_columns, right @ expected[0].mT)


def test_float32_in_float32_out() -> None:
    matrix, right = symmetric(random(3, 6, 6)), random(3, 6, seed=1)
    solution = linear_solve(matrix.float(), right.float(), symmetric=True)
    assert solution.dtype == torch.float32
    exact = linear_solve(matrix.float().double(), right.float().double(), symmetric=True)
    torch.testing.assert_close(solution, exact.float(), rtol=1e-6, atol=0)
