"""The solution of a quadratic program does not depend on the unit of its objective, nor in its digits on that of x."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import declarative as dl
from declarative.runtime import implicit
from declarative.runtime.adjoints.active_set import ActiveSetAdjoint
from declarative.runtime.adjoints.native_active_set import NativeActiveSetAdjoint
from declarative.runtime.problem import Adjoint, Solver
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.solvers.interior_point import InteriorPoint
from declarative.runtime.solvers.native_interior_point import NativeInteriorPoint

BACKENDS: list[tuple[Callable[[], Solver], Callable[[], Adjoint]]] = [
    (NativeInteriorPoint, NativeActiveSetAdjoint),
    (InteriorPoint, ActiveSetAdjoint),
]
NAMES = ("P", "q", "A", "b", "G", "h", "lower", "upper")
ACCURATE = {torch.float64: 1e-9, torch.float32: 2e-5}
OBJECTIVES = [(torch.float32, 1e-5), (torch.float32, 1e-8), (torch.float64, 1e-9), (torch.float64, 1e-12)]
LENGTHS = [(torch.float32, 1e-6), (torch.float64, 1e-10)]


def programs(count: int, n: int, m: int, p: int) -> list[Tensor]:
    """The data of `NAMES` in float64; strictly feasible."""
    rng = np.random.default_rng(5)
    factor = rng.normal(size=(count, n, n))
    x0 = rng.normal(size=(count, n))
    A, G = rng.normal(size=(count, p, n)), rng.normal(size=(count, m, n))
    b, h = np.einsum("bij,bj->bi", A, x0), np.einsum("bij,bj->bi", G, x0) + rng.uniform(0.1, 1, (count, m))
    P = factor @ factor.transpose(0, 2, 1) / n + np.eye(n)
    bounds = x0 - rng.uniform(0.2, 1, (count, n)), x0 + rng.uniform(0.2, 1, (count, n))
    return [torch.tensor(a) for a in (P, rng.normal(size=(count, n)), A, b, G, h, *bounds)]


def answer(data: list[Tensor], backend: tuple[Callable[[], Solver], Callable[[], Adjoint]]) -> tuple[Tensor, Tensor]:
    """x, and the gradient of one combination of it in q."""
    q = data[1].clone().requires_grad_()
    problem = DenseQP(**dict(zip(NAMES, [data[0], q, *data[2:]], strict=True)))
    solved = implicit.solve(problem, backend[0](), backend[1]())
    assert not solved.status.any()
    x = solved.point[0]
    cotangent = torch.linspace(-1, 2, x.shape[-1], dtype=x.dtype)
    return x.detach(), torch.autograd.grad((x * cotangent).sum(), q)[0]


@pytest.mark.parametrize("backend", BACKENDS, ids=["kernels", "torch"])
@pytest.mark.parametrize(("dtype", "unit"), OBJECTIVES)
def test_the_unit_of_the_objective(
    backend: tuple[Callable[[], Solver], Callable[[], Adjoint]], dtype: torch.dtype, unit: float
) -> None:
    data = programs(24, 6, 5, 2)
    x, slope = answer(data, BACKENDS[1])
    P, q, *rest = data
    found, gradient = answer([t.to(dtype) for t in (P * unit, q * unit, *rest)], backend)
    torch.testing.assert_close(found.double(), x, rtol=0, atol=ACCURATE[dtype])
    torch.testing.assert_close(gradient.double() * unit, slope, rtol=0, atol=50 * ACCURATE[dtype])


@pytest.mark.parametrize("backend", BACKENDS, ids=["kernels", "torch"])
@pytest.mark.parametrize(("dtype", "unit"), LENGTHS)
def test_the_unit_of_x(
    backend: tuple[Callable[[], Solver], Callable[[], Adjoint]], dtype: torch.dtype, unit: float
) -> None:
    data = programs(24, 6, 5, 2)
    x, slope = answer(data, BACKENDS[1])
    P, q, A, b, G, h, lower, upper = data
    small = [P, q * unit, A, b * unit, G, h * unit, lower * unit, upper * unit]
    found, gradient = answer([t.to(dtype) for t in small], backend)
    torch.testing.assert_close(found.double() / unit, x, rtol=0, atol=ACCURATE[dtype])
    torch.testing.assert_close(gradient.double(), slope, rtol=0, atol=50 * ACCURATE[dtype])


def test_an_objective_in_small_units_is_not_taken_for_flat() -> None:
    layer = dl.compile(
        "layer small\ndim n\nparam q[n]\nparam s nonneg\nvar z[n]\nminimize s * (sum_squares(z) / 2 + q' @ z)\n"
        "subject to\n  ineq: sum(z) <= 1\n"
    )()
    q = torch.tensor([1.2, 1.3])
    assert bool(layer.diagnose(q, 1e-6).holds.all())
    assert not bool(layer.diagnose(q, 0.0).holds.any())
