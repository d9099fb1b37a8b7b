"""Gradients of quadratic programs of the families against an adjoint in numpy and central differences.

Compared where the implicit function theorem holds with a margin: independent active rows, multipliers and slacks away
from zero together, and a KKT matrix that is not singular.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch

from declarative.runtime import implicit
from declarative.runtime.adjoints.native_active_set import NativeActiveSetAdjoint
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.solvers.native_interior_point import NativeInteriorPoint
from tests.runtime.robustness.families import FAMILIES
from tests.runtime.robustness.programs import DATA, Array, Programs

NAMES = [
    "well_scaled",
    "badly_scaled",
    "ill_conditioned",
    "linear",
    "low_rank",
    "bounds_of_every_size",
    "fixed_variables",
]
SIZES = [(3, 2, 1), (6, 5, 2), (9, 4, 0), (8, 0, 3)]
STRICT = 1e-3


def numpy_gradients(of: Programs, i: int, point: tuple[Array, ...], bar: Array) -> dict[str, Array] | None:
    """The gradient of bar'x in all data of instance i, by the KKT matrix of the active rows; None where it is near
    singular or an inequality nearly weakly active."""
    x, nu, ineq, z = (part[i] for part in point)
    n = len(x)
    P = (of.P[i] + of.P[i].T) / 2
    slack = of.h[i] - of.G[i] @ x
    room = np.minimum(of.upper[i] - x, x - of.lower[i])
    held_for_good = of.lower[i] == of.upper[i]
    strict = np.maximum(
        np.concatenate([ineq, np.abs(z)[~held_for_good]]), np.concatenate([slack, room[~held_for_good]])
    )
    if strict.size and strict.min() < STRICT:
        return None
    rows, held = np.flatnonzero(ineq > slack), np.flatnonzero((np.abs(z) > room) | held_for_good)
    C = np.concatenate([of.A[i], of.G[i][rows], np.eye(n)[held]])
    K = np.block([[P, C.T], [C, np.zeros((len(C), len(C)))]])
    unit = 1 / np.sqrt(np.maximum(np.abs(K).max(1), 1e-300))
    if np.linalg.cond(unit[:, None] * K * unit) > 1e5:
        return None
    u = np.linalg.solve(K, np.concatenate([bar, np.zeros(len(C))]))
    u_x, u_nu, u_rows, u_held = np.split(u, np.cumsum([n, len(nu), len(rows)]))
    u_ineq, u_bounds = np.zeros_like(ineq), np.zeros(n)
    u_ineq[rows], u_bounds[held] = u_rows, u_held
    at_upper = z >= 0
    return {
        "P": -(np.outer(u_x, x) + np.outer(x, u_x)) / 2,
        "q": -u_x,
        "A": -(np.outer(nu, u_x) + np.outer(u_nu, x)),
        "b": u_nu,
        "G": -(np.outer(ineq, u_x) + np.outer(u_ineq, x)),
        "h": u_ineq,
        "lower": np.where(at_upper, 0, u_bounds),
        "upper": np.where(at_upper, u_bounds, 0),
    }


@pytest.mark.parametrize("each", [8, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_an_adjoint_in_numpy(name: str, each: int) -> None:
    compared = 0
    for shape in SIZES:
        rng = np.random.default_rng([zlib.crc32(name.encode()), *shape])
        programs = FAMILIES[name](rng, each, *shape)
        problem = programs.problem()
        given = [t.requires_grad_() for t in problem.tensors]
        solved = implicit.solve(problem.with_tensors(given), NativeInteriorPoint(), NativeActiveSetAdjoint())
        bar = rng.normal(size=programs.q.shape) / (1e-300 + np.abs(solved.point[0].detach().numpy()).max())
        found = torch.autograd.grad(solved.point[0], given, torch.tensor(bar))
        names = [k for k in DATA if getattr(problem, k) is not None]
        point = tuple(part.detach().numpy() for part in solved.point)
        for i in range(each):
            expected = numpy_gradients(programs, i, point, bar[i])
            if expected is None:
                continue
            compared += 1
            whole = max(np.abs(want).max() for want in expected.values() if want.size)  # zero is zero beside the others
            for key, gradient in zip(names, found, strict=True):
                got, want = gradient[i].numpy(), expected[key]
                assert np.abs(got - want).max() <= 1e-8 * max(np.abs(want).max(), 1e-2 * whole) + 1e-12, (key, shape, i)
    assert compared >= each // 2


def test_gradients_equal_central_differences() -> None:
    drawn = FAMILIES["well_scaled"](np.random.default_rng(3), 12, 5, 4, 1)
    point = tuple(part.numpy() for part in NativeInteriorPoint().solve(drawn.problem()).point)
    regular = [i for i in range(len(drawn)) if numpy_gradients(drawn, i, point, np.ones(5)) is not None]
    assert len(regular) >= 6
    programs = drawn.take(np.array(regular))
    tensors = [t.requires_grad_() for t in programs.problem().tensors]
    problem = programs.problem()

    def value(data: list[torch.Tensor]) -> torch.Tensor:
        x = implicit.solve(problem.with_tensors(data), NativeInteriorPoint(), NativeActiveSetAdjoint()).point[0]
        return (x * torch.arange(1.0, 6.0).double()).sum()

    gradients = torch.autograd.grad(value(tensors), tensors)
    generator, step = torch.Generator().manual_seed(0), 1e-6
    for k, tensor in enumerate(tensors):
        way = torch.randn(tensor.shape, dtype=torch.float64, generator=generator)
        sides = [
            [t.detach() + s * step * way if j == k else t.detach() for j, t in enumerate(tensors)] for s in (1, -1)
        ]
        difference = (value(sides[0]) - value(sides[1])) / (2 * step)
        finite = torch.where(tensor.isfinite(), way, 0)
        assert float((gradients[k] * finite).sum()) == pytest.approx(float(difference), rel=1e-6, abs=1e-7)


def test_kernels_and_torch_agree_where_conditions_fail() -> None:
    """A weakly active or dependent row has one documented derivative, whoever computes it."""
    from declarative.runtime.adjoints.active_set import ActiveSetAdjoint

    for name in ("weakly_active", "repeated_rows"):
        problem = FAMILIES[name](np.random.default_rng(1), 12, 6, 6, 2).problem()
        both = []
        for adjoint in (NativeActiveSetAdjoint(), ActiveSetAdjoint()):
            q = problem.q.detach().clone().requires_grad_()
            of = DenseQP(**{k: q if k == "q" else getattr(problem, k) for k in DATA})
            x = implicit.solve(of, NativeInteriorPoint(), adjoint).point[0]
            both.append(torch.autograd.grad(x.square().sum(), q)[0])
        torch.testing.assert_close(*both, rtol=1e-7, atol=1e-9)
