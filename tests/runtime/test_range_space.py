"""The compiled quadratic programs whose curvature is eliminated, and where that is given up for the variables."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from declarative.runtime.native import library
from declarative.runtime.problem import Solved
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.solvers.interior_point import InteriorPoint
from declarative.runtime.solvers.native_interior_point import NativeInteriorPoint
from declarative.runtime.status import Status

pytestmark = pytest.mark.skipif(library.library() is None, reason="installed without a compiler")


@pytest.fixture(params=[2, 1, 0], ids=["best", "avx2", "baseline"], autouse=True)
def every_instruction_set(request: pytest.FixtureRequest) -> object:
    library.limit_instructions(request.param)
    yield
    library.limit_instructions(2)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def program(batch: int, n: int, m: int, p: int, spread: Tensor | float = 1.0, *, shared: bool = False) -> DenseQP:
    """Of feasible rows; the eigenvalues of P go from one down to one over ``spread``, a number or one an instance."""
    own = () if shared else (batch,)
    exponents = torch.linspace(0, 1, n, dtype=torch.float64)
    eigenvalues = torch.as_tensor(spread, dtype=torch.float64).expand(own)[..., None] ** -exponents
    basis = torch.linalg.qr(normal(*own, n, n))[0]
    A, G, inside = normal(*own, p, n, seed=1), normal(*own, m, n, seed=2), normal(batch, n, seed=3)
    return DenseQP(
        P=(basis * eigenvalues[..., None, :]) @ basis.mT,
        q=3 * normal(batch, n, seed=4),
        A=A if p else None,
        b=(A @ inside[..., None])[..., 0] if p else None,
        G=G,
        h=(G @ inside[..., None])[..., 0] + normal(batch, m, seed=5).abs(),
    )


def refuse(*_: object) -> None:
    raise AssertionError("handed to the reference")


def solved(problem: DenseQP, monkeypatch: pytest.MonkeyPatch) -> Solved:
    """By the kernels alone."""
    with monkeypatch.context() as context:
        context.setattr(InteriorPoint, "solve", refuse)
        return NativeInteriorPoint().solve(problem)


def assert_solves(found: Solved, problem: DenseQP, tolerance: float) -> None:
    """That all is solved, and to the point that the reference finds in float64."""
    exact = InteriorPoint().solve(problem.with_tensors([t.double() for t in problem.tensors]))
    assert bool((found.status == Status.SOLVED).all())
    for mine, theirs in zip(found.point, exact.point, strict=True):
        size = theirs.abs().amax() if theirs.numel() else torch.ones(())
        assert bool(((mine.double() - theirs).abs() <= tolerance * size.clamp_min(1)).all())


@pytest.mark.parametrize("spread", [1.0, 1e3, 1e5, 1e8])
@pytest.mark.parametrize("sizes", [(5, 3, 0), (12, 16, 3), (40, 30, 10), (150, 60, 20)])
def test_up_to_where_curvature_is_too_small(
    sizes: tuple[int, int, int], spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = program(9 if sizes[0] < 100 else 2, *sizes, spread=spread)
    found = solved(problem, monkeypatch) if spread < 1e5 else NativeInteriorPoint().solve(problem)
    assert_solves(found, problem, 1e-14 * spread + 1e-12)


@pytest.mark.parametrize("spread", [1.0, 50.0, 1e3])
def test_in_float32(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = program(21, 24, 18, 4, spread=spread)
    problem = problem.with_tensors([t.float() for t in problem.tensors])
    assert_solves(solved(problem, monkeypatch), problem, 2e-6 * spread**0.5)


def test_lanes_that_do_not_fit_together() -> None:
    """Well and badly conditioned instances side by side, one of them without curvature in a direction."""
    spreads = torch.logspace(0, 10, 17, dtype=torch.float64)
    problem = program(17, 10, 8, 2, spread=spreads)
    found, exact = NativeInteriorPoint().solve(problem), InteriorPoint().solve(problem)
    assert bool((found.status == Status.SOLVED).all())
    objective = lambda x: (0.5 * x * (problem.P @ x[..., None])[..., 0] + problem.q * x).sum(-1)  # noqa: E731
    torch.testing.assert_close(objective(found.point[0]), objective(exact.point[0]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.point[0][:6], exact.point[0][:6], rtol=1e-8, atol=1e-8)


def test_a_broken_neighbour_changes_nothing() -> None:
    problem = program(8, 10, 8, 2)
    alone = NativeInteriorPoint().solve(problem)
    P = problem.P.clone()
    P[3] = -P[3]
    P[5] = torch.nan
    beside = NativeInteriorPoint().solve(problem.with_tensors([P, *problem.tensors[1:]]))
    sound = [0, 1, 2, 4, 6, 7]
    assert torch.equal(beside.point[0][sound], alone.point[0][sound])
    assert bool((beside.status[[3, 5]] != Status.SOLVED).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_shared_matrices_of_lanes_with_scales_of_their_own(dtype: torch.dtype) -> None:
    """Objectives and right-hand sides of very different sizes, hence another factor of P in every lane."""
    problem = program(37, 20, 15, 4, shared=True)
    assert problem.b is not None
    assert problem.h is not None
    size = torch.logspace(-3, 3, 37, dtype=torch.float64)[:, None]
    problem = DenseQP(
        P=problem.P, q=problem.q * size, A=problem.A, b=problem.b * size, G=problem.G, h=problem.h * size.flip(0)
    )
    exact = problem.with_tensors([t.to(dtype) for t in problem.tensors])
    found = NativeInteriorPoint().solve(exact)
    whole = [t.expand(37, *t.shape[t.dim() - rank :]) for t, rank in zip(exact.tensors, exact.core_ranks, strict=True)]
    apart = NativeInteriorPoint().solve(exact.with_tensors([t.contiguous() for t in whole]))
    assert torch.equal(found.status, apart.status)
    ours, theirs = found.point[0], apart.point[0]
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    inside = found.status == Status.SOLVED
    assert bool(inside.any())
    error = (ours - theirs).abs().amax(-1) / theirs.abs().amax(-1)
    assert float(error[inside].max()) < tolerance


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_dependent_rows(dtype: torch.dtype) -> None:
    """Every row twice, in another unit, and an equality twice: multipliers are not unique, x is."""
    once = program(16, 12, 6, 2)
    assert once.A is not None
    assert once.b is not None
    assert once.G is not None
    assert once.h is not None
    twice = DenseQP(
        P=once.P,
        q=once.q,
        A=torch.cat([once.A, once.A[:, :1]], 1),
        b=torch.cat([once.b, once.b[:, :1]], 1),
        G=torch.cat([once.G, 4 * once.G], 1),
        h=torch.cat([once.h, 4 * once.h], 1),
    )
    found = NativeInteriorPoint().solve(twice.with_tensors([t.to(dtype) for t in twice.tensors]))
    exact = InteriorPoint().solve(once)
    assert bool((found.status == Status.SOLVED).all())
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(found.point[0].double(), exact.point[0], rtol=tolerance, atol=tolerance)


def test_rows_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = program(16, 12, 9, 2)
    assert problem.h is not None
    h = problem.h.clone()
    h[::2, ::3] = torch.inf
    h[1::2, 1::3] = 1e30
    problem = problem.with_tensors([*problem.tensors[:-1], h])
    assert_solves(solved(problem, monkeypatch), problem, 1e-9)


def test_an_empty_feasible_set_is_certified() -> None:
    problem = program(9, 10, 6, 2)
    assert problem.G is not None
    assert problem.h is not None
    G, h = problem.G.clone(), problem.h.clone()
    G[4, 1], h[4, 0], h[4, 1] = -G[4, 0], -1.0, -1.0
    found = NativeInteriorPoint().solve(problem.with_tensors([*problem.tensors[:-2], G, h]))
    assert int(found.status[4]) == Status.INFEASIBLE
    assert bool((found.status[[0, 1, 2, 3, 5, 6, 7, 8]] == Status.SOLVED).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shared", [False, True])
def test_a_diagonal_of_curvatures(shared: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a projection onto a polyhedron; here some thirty to one."""
    problem = program(16, 30, 24, 4, shared=shared)
    P = torch.diag_embed(1 + 30 * torch.rand(30, dtype=torch.float64, generator=torch.Generator().manual_seed(9)))
    problem = problem.with_tensors([P if shared else P.expand(16, 30, 30), *problem.tensors[1:]])
    problem = problem.with_tensors([t.to(dtype) for t in problem.tensors])
    assert_solves(solved(problem, monkeypatch), problem, 1e-9 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("size", [1e-12, 1e-4, 1e6, 1e12, 1e18])
def test_the_length_of_the_data_does_not_matter(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    one = program(9, 12, 6, 0)
    assert one.h is not None
    found = solved(DenseQP(P=one.P, q=one.q * size, G=one.G, h=one.h * size), monkeypatch)
    exact = InteriorPoint().solve(one).point[0]
    torch.testing.assert_close(found.point[0] / size, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_broken_neighbour_among_diagonals(dtype: torch.dtype) -> None:
    full = program(16, 20, 6, 0)
    curvatures = 0.5 + torch.rand(16, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    below = torch.full((16, 20), -1.0, dtype=torch.float64)
    problem = DenseQP(P=torch.diag_embed(curvatures), q=full.q, G=full.G, h=full.h, lower=below)
    problem = problem.with_tensors([t.to(dtype) for t in problem.tensors])
    alone = NativeInteriorPoint().solve(problem)
    entry = problem.P[0].clone()
    entry[3, 5] = torch.nan
    for broken in (problem.P[0] * torch.nan, entry):
        P = torch.cat([broken[None], problem.P[1:]])
        beside = NativeInteriorPoint().solve(problem.with_tensors([P, *problem.tensors[1:]]))
        assert int(beside.status[0]) != Status.SOLVED
        assert torch.equal(beside.point[0][1:], alone.point[0][1:])
