"""Quadratic programs without inequalities: one solve, against closed forms and against the interior point."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import declarative as dl
from declarative.runtime.solvers.direct import Direct
from declarative.runtime.solvers.interior_point import InteriorPoint
from declarative.structures import Match, canonicalise, recognise

PROJECTION = (
    "param A[p, n]\nparam b[p]\nparam x[n]\nvar y[n]\nminimize 1/2 * sum_squares(y - x)\n"
    "subject to\n  on: A @ y == b\noutput y, dual(on) as nu"
)
RIDGE = "param A[p, n]\nparam b[p]\nparam rho nonneg\nvar y[n]\nminimize sum_squares(A @ y - b) + rho * sum_squares(y)"


def program(body: str) -> dl.builder.LayerDefinition:
    return dl.parse_program(f"layer example\ndim p, n\n{body}\n")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def structure(body: str) -> str:
    return next(m.structure for _, m in recognise(canonicalise(program(body))) if isinstance(m, Match))


def test_projection_onto_an_affine_set() -> None:
    layer = dl.compile(program(PROJECTION))()
    A, b, x = normal(3, 2, 5), normal(2, seed=1), normal(5, seed=2)
    y, nu = layer(A, b, x)
    gram = A @ A.mT
    expected = torch.stack([torch.linalg.solve(g, a @ x - b) for g, a in zip(gram, A, strict=True)])
    torch.testing.assert_close(nu, expected)
    torch.testing.assert_close(y, x - (A.mT @ nu[..., None])[..., 0])


def test_ridge_regression_and_its_derivatives() -> None:
    layer = dl.compile(program(RIDGE))()
    A, b, rho = normal(6, 3), normal(4, 6, seed=1), torch.tensor(0.7, dtype=torch.float64)
    expected = torch.linalg.solve(A.mT @ A + rho * torch.eye(3), (b @ A).mT).mT
    torch.testing.assert_close(layer(A, b, rho), expected)
    inputs = tuple(t.clone().requires_grad_() for t in (A, b[:2], rho))
    assert torch.autograd.gradcheck(layer, inputs)
    assert torch.autograd.gradgradcheck(layer, inputs)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (PROJECTION, "equality_qp"),
        (RIDGE, "equality_qp"),
        (PROJECTION.replace("A @ y == b", "A @ y <= b"), "dense_qp"),
        (PROJECTION.replace("var y[n]", "var y[n] nonneg"), "dense_qp"),
        (RIDGE + " + norm1(y)", "dense_qp"),
        ("param A[p, n]\nparam b[p]\nparam x[n]\nvar y[n]\nminimize x @ y\nsubject to\n  on: A @ y == b", "dense_qp"),
    ],
)
def test_only_equalities_match(body: str, expected: str) -> None:
    assert structure(body) == expected


def test_it_agrees_with_the_interior_point_also_where_rows_are_dependent() -> None:
    layer = dl.compile(program(PROJECTION))()
    A, x = normal(2, 4), normal(4, seed=1)
    A = torch.cat([A, A[:1]])
    b = A @ normal(4, seed=2)
    solution = layer.solve(A, b, x)
    reference = InteriorPoint().solve(layer.data(A, b, x))
    torch.testing.assert_close(solution.point[0], reference.point[0], rtol=0, atol=1e-8)
    torch.testing.assert_close(A @ solution.point[0], b)


def test_failures_are_told_apart_and_leave_the_others_alone() -> None:
    layer = dl.compile(program(PROJECTION.replace("1/2 * sum_squares(y - x)", "sum_squares(A @ y - b) + x @ y")))()
    A = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, 1.0], [1.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    x = torch.tensor([[0.3, 0.0], [0.3, 0.0], [0.3, 0.1]], dtype=torch.float64)
    solution = layer.solve(A, b, x)
    assert [dl.Status(int(s)).label for s in solution.status] == ["solved", "infeasible", "unbounded"]
    torch.testing.assert_close(solution.outputs[0][0], torch.tensor([1.0, 0.0], dtype=torch.float64))


def test_settings_reach_the_solver() -> None:
    layer = dl.compile(program(RIDGE))(tolerance=1e-6, max_iterations=7)
    assert layer(normal(6, 3), normal(6, seed=1), 0.5).shape == (3,)
    assert Direct.serves(layer.data(normal(6, 3), normal(6, seed=1), torch.tensor(0.5).double()))
    bounded = dl.compile(program(RIDGE.replace("var y[n]", "var y[n] nonneg")))(tolerance=1e-6)
    assert bounded(normal(6, 3), normal(6, seed=1), 0.5).shape == (3,)


def test_float32() -> None:
    layer = dl.compile(program(RIDGE))()
    A, b = normal(6, 3), normal(6, seed=1)
    found = layer(A.float(), b.float(), torch.tensor(0.5))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), layer(A, b, 0.5), rtol=1e-5, atol=1e-5)
