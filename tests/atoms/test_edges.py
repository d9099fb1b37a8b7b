"""Values and gradients where a plain formula would overflow, divide by zero or fail for a whole batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from declarative.atoms import ATOMS
from declarative.ir.atom import Operand
from declarative.ir.shape import Shape, Size
from declarative.runtime import functions


def evaluate(name: str, *tensors: torch.Tensor) -> torch.Tensor:
    """The torch source of a function on tensors without batch dimensions."""
    shapes: list[Shape] = [tuple(map(Size, t.shape)) for t in tensors]
    operands = [Operand(f"v{i}", shape) for i, shape in enumerate(shapes)]
    scope = {"torch": torch, "functions": functions, **{f"v{i}": t for i, t in enumerate(tensors)}}
    return eval(ATOMS[name].torch(*operands), scope)


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("name", ["logistic", "softplus"])
def test_logistic_neither_overflows_nor_rounds_away(name: str) -> None:
    x = doubles(-800.0, -40.0, 0.0, 25.0, 800.0)
    value = evaluate(name, x)
    expected = [0.0, math.log1p(math.exp(-40)), math.log(2), 25 + math.log1p(math.exp(-25)), 800.0]
    assert torch.allclose(value, torch.tensor(expected, dtype=torch.float64), rtol=1e-15, atol=0)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert torch.allclose(gradient, torch.sigmoid(x), rtol=1e-14, atol=0)


def test_log_sum_exp_does_not_overflow() -> None:
    x = doubles(1000.0, 1000.0)
    assert evaluate("log_sum_exp", x).item() == pytest.approx(1000 + math.log(2))


@pytest.mark.parametrize("name", ["norm2", "norm_fro"])
def test_a_norm_has_a_finite_gradient_at_zero(name: str) -> None:
    x = doubles(0.0, 0.0, 0.0)
    (gradient,) = torch.autograd.grad(evaluate(name, x), x)
    assert gradient.tolist() == [0.0, 0.0, 0.0]


def test_entropy_at_zero() -> None:
    assert evaluate("entr", doubles(0.0, 1.0)).tolist() == [0.0, 0.0]


def test_relative_entropy_at_zero() -> None:
    x, y = doubles(0.0, 0.0, 2.0), doubles(0.0, 3.0, 2.0)
    assert evaluate("rel_entr", x, y).tolist() == [0.0, 0.0, 0.0]
    assert evaluate("kl_div", x, y).tolist() == [0.0, 3.0, 0.0]
    x, y = doubles(0.0, 2.0), doubles(3.0, 2.0)
    by_x, by_y = torch.autograd.grad(evaluate("rel_entr", x, y).sum(), (x, y))
    assert by_x.tolist() == [-math.inf, 1.0]
    assert by_y.tolist() == [0.0, -1.0]


def test_relative_entropy_is_infinite_outside_its_domain() -> None:
    assert evaluate("rel_entr", doubles(-1.0, 1.0), doubles(1.0, -1.0)).tolist() == [math.inf, math.inf]


def test_huber_is_quadratic_around_zero() -> None:
    x = doubles(0.0)
    (first,) = torch.autograd.grad(evaluate("huber", x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert (first.item(), second.item()) == (0.0, 2.0)


@pytest.mark.parametrize("name", ["cholesky", "log_det"])
def test_an_indefinite_instance_leaves_the_others_alone(name: str) -> None:
    good = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    value = getattr(functions, name)(torch.stack([good, -good]))
    assert value[0].isfinite().all()
    assert value[1].isnan().all()


def test_a_singular_instance_leaves_the_others_alone() -> None:
    matrices = torch.stack([2 * torch.eye(2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)])
    value = functions.inv(matrices)
    assert torch.equal(value[0], torch.eye(2, dtype=torch.float64) / 2)
    assert value[1].isnan().all()


def test_inverse_and_determinant_of_large_matrices_in_a_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(2, 2, 160, 160, dtype=torch.float64, generator=generator) / math.sqrt(160)
    assert np.allclose(functions.inv(matrices), np.linalg.inv(matrices.numpy()), rtol=1e-7, atol=1e-8)
    assert np.allclose(functions.det(matrices), np.linalg.det(matrices.numpy()), rtol=1e-8)


def test_concat_joins_batches_that_broadcast() -> None:
    a, b = torch.ones(4, 1, 2), torch.zeros(3, 5)
    assert functions.concat(a, b, 7.0).shape == (4, 3, 8)
    assert functions.concat(a, b, 7.0)[0, 0].tolist() == [1, 1, 0, 0, 0, 0, 0, 7]
    assert functions.vstack(torch.ones(4, 1, 2, 6), torch.zeros(3, 1, 6)).shape == (4, 3, 3, 6)
