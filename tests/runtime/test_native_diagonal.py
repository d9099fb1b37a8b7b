"""The compiled quadratic programs with a diagonal P and few rows, and those with equalities only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from declarative.runtime import implicit
from declarative.runtime.adjoints.active_set import ActiveSetAdjoint
from declarative.runtime.adjoints.native_active_set import NativeActiveSetAdjoint
from declarative.runtime.native import library
from declarative.runtime.problem import Adjoint, Solved
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.solvers.direct import Direct
from declarative.runtime.solvers.interior_point import InteriorPoint
from declarative.runtime.solvers.native_interior_point import NativeInteriorPoint
from declarative.runtime.status import Status

pytestmark = pytest.mark.skipif(library.library() is None, reason="installed without a compiler")

INF = float("inf")


@pytest.fixture(params=[2, 1, 0], ids=["best", "avx2", "baseline"], autouse=True)
def every_instruction_set(request: pytest.FixtureRequest) -> object:
    library.limit_instructions(request.param)
    yield
    library.limit_instructions(2)


def refuse(*_: object) -> None:
    raise AssertionError("handed to the reference")


def make(batch: int, n: int, m: int, p: int, *, box: bool = True, flat: float = 0, shared: bool = False) -> DenseQP:
    """A share ``flat`` of the curvatures is zero; the matrices of all instances are the same where ``shared``."""
    at = torch.Generator().manual_seed(n + 10 * m + 100 * p)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=at)

    own = () if shared else (batch,)
    curvature, A, G, inside = normal(*own, n).abs() + 0.2, normal(*own, p, n), normal(*own, m, n), normal(batch, n)
    curvature = torch.where(torch.rand(*own, n, dtype=torch.float64, generator=at) < flat, 0, curvature)
    return DenseQP(
        P=torch.diag_embed(curvature),
        q=3 * normal(batch, n),
        A=A if p else None,
        b=(A @ inside[..., None])[..., 0] if p else None,
        G=G if m else None,
        h=(G @ inside[..., None])[..., 0] + normal(batch, m).abs() if m else None,
        lower=inside - normal(batch, n).abs() if box else None,
        upper=inside + normal(batch, n).abs() if box else None,
    )


CASES = [
    pytest.param(make(21, 20, 3, 2), id="few-rows"),
    pytest.param(make(2, 70, 5, 1), id="one-by-one"),
    pytest.param(make(11, 9, 0, 0), id="box"),
    pytest.param(make(11, 12, 4, 0, box=False), id="no-bounds"),
    pytest.param(make(11, 12, 0, 2), id="equalities-and-box"),
    pytest.param(make(11, 16, 4, 2, flat=0.5), id="some-flat"),
    pytest.param(make(11, 16, 4, 2, flat=1), id="linear"),
    pytest.param(make(11, 8, 9, 2), id="many-rows"),
    pytest.param(make(19, 20, 3, 2, shared=True), id="shared"),
]


def gradients(problem: DenseQP, adjoint: Adjoint) -> tuple[Tensor, ...]:
    tensors = [t.detach().clone().requires_grad_() for t in problem.tensors]
    x = implicit.solve(problem.with_tensors(tensors), NativeInteriorPoint(), adjoint).point[0]
    at = torch.Generator().manual_seed(0)
    return torch.autograd.grad(x, tensors, torch.randn(x.shape, dtype=torch.float64, generator=at).to(x.dtype))


def as_double(problem: DenseQP) -> DenseQP:
    return problem.with_tensors([t.double() for t in problem.tensors])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("problem", CASES)
def test_a_diagonal_program_equals_the_reference(
    problem: DenseQP, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem.with_tensors([t.to(dtype) for t in problem.tensors])
    expected = InteriorPoint().solve(as_double(problem))
    monkeypatch.setattr(InteriorPoint, "solve", refuse)
    solved = NativeInteriorPoint().solve(problem)
    assert (solved.status == Status.SOLVED).all()
    close = 1e-10 if dtype == torch.float64 else 1e-5
    for got, want in zip(solved.point, expected.point, strict=True):
        if want.numel():
            torch.testing.assert_close(got.double(), want, rtol=0, atol=close * (1 + float(want.abs().max())))
    native, reference = gradients(problem, NativeActiveSetAdjoint()), gradients(as_double(problem), ActiveSetAdjoint())
    for got, want in zip(native, reference, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=0, atol=100 * close * (1 + float(want.abs().max())))


def test_gradients_are_the_slopes_of_the_solution() -> None:
    problem = make(9, 12, 3, 1)
    step, at = 1e-6, torch.Generator().manual_seed(1)
    names = ("P", "q", "A", "b", "G", "h", "lower", "upper")
    along = [torch.randn(t.shape, dtype=torch.float64, generator=at) for t in problem.tensors]
    along[0] = torch.diag_embed(along[0].diagonal(dim1=-2, dim2=-1))
    weight = torch.randn(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for name, gradient, way in zip(names, gradients(problem, NativeActiveSetAdjoint()), along, strict=True):

        def value(length: float, name: str = name, way: Tensor = way) -> Tensor:
            moved = {key: getattr(problem, key) for key in names} | {name: getattr(problem, name) + length * way}
            return (NativeInteriorPoint().solve(DenseQP(**moved)).point[0] * weight).sum(-1)

        slope = (value(step) - value(-step)) / (2 * step)
        torch.testing.assert_close((gradient * way).flatten(1).sum(-1), slope, rtol=1e-6, atol=1e-6)


def test_one_instance_that_is_not_diagonal() -> None:
    """It is solved as it is, and the others as they are by themselves."""
    problem = make(16, 20, 3, 2)
    P = problem.P.clone()
    P[5, 1, 2] = P[5, 2, 1] = 0.1
    mixed = problem.with_tensors([P, *problem.tensors[1:]])
    solved, expected = NativeInteriorPoint().solve(mixed), InteriorPoint().solve(mixed)
    for got, want in zip(solved.point, expected.point, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)
    for got, want in zip(gradients(mixed, NativeActiveSetAdjoint()), gradients(mixed, ActiveSetAdjoint()), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)


def test_negative_curvature_is_refused_where_it_is() -> None:
    problem = make(16, 20, 3, 2)
    P = problem.P.clone()
    P[3, 7, 7] = -1
    solved = NativeInteriorPoint().solve(problem.with_tensors([P, *problem.tensors[1:]]))
    assert Status(int(solved.status[3])) is Status.MAX_ITERATIONS
    assert (solved.status[torch.arange(16) != 3] == Status.SOLVED).all()


def test_infinite_and_equal_bounds_and_redundant_rows() -> None:
    problem = make(8, 16, 3, 2)
    P, q, A, b, G, *bounds = problem.tensors
    h, lower, upper = (t.clone() for t in bounds)
    lower[:, ::3], upper[:, ::4], upper[:, 1], h[:, 0] = -INF, INF, lower[:, 1], INF
    changed = DenseQP(P=P, q=q, A=A.repeat(1, 2, 1), b=b.repeat(1, 2), G=G, h=h, lower=lower, upper=upper)
    solved, expected = NativeInteriorPoint().solve(changed), InteriorPoint().solve(changed)
    assert (solved.status == Status.SOLVED).all()
    assert torch.equal(solved.point[0][:, 1], lower[:, 1])
    torch.testing.assert_close(solved.point[0], expected.point[0], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(solved.point[3], expected.point[3], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("problem", [make(40, 30, 3, 2), make(40, 30, 0, 4, box=False)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_threads_do_not_change_what_is_diagonal(problem: DenseQP, dtype: torch.dtype) -> None:
    problem = problem.with_tensors([t.to(dtype) for t in problem.tensors])
    before, solved = torch.get_num_threads(), list[Solved]()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            solved.append(NativeInteriorPoint().solve(problem))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(solved[0].point, solved[1].point, strict=True))


def with_equalities(batch: int, n: int, p: int, *, shared: bool = False, rank: int | None = None) -> DenseQP:
    at = torch.Generator().manual_seed(n + 100 * p)
    own = () if shared else (batch,)
    root = torch.randn(*own, n, rank or n, dtype=torch.float64, generator=at)
    ridge = 0 if rank else 0.1 * torch.eye(n, dtype=torch.float64)
    A = torch.randn(*own, p, n, dtype=torch.float64, generator=at)
    q, b = (torch.randn(batch, size, dtype=torch.float64, generator=at) for size in (n, p))
    if rank:  # so that there is a minimum
        q = (root @ torch.randn(*own, rank, 1, dtype=torch.float64, generator=at))[..., 0].expand(batch, n)
    return DenseQP(P=root @ root.mT + ridge, q=q, A=A, b=b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shared", [False, True])
def test_equalities_only_equal_one_linear_solve(
    shared: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = with_equalities(21, 14, 3, shared=shared)
    problem = problem.with_tensors([t.to(dtype) for t in problem.tensors])
    expected = Direct().solve(as_double(problem))
    monkeypatch.setattr(Direct, "solve", refuse)
    solved = NativeInteriorPoint().solve(problem)
    assert (solved.status == Status.SOLVED).all()
    assert not solved.iterations.any()
    close = 1e-10 if dtype == torch.float64 else 1e-5
    for got, want in zip(solved.point[:2], expected.point[:2], strict=True):
        torch.testing.assert_close(got.double(), want, rtol=0, atol=close * (1 + float(want.abs().max())))


@pytest.mark.parametrize("scale", [1, 1e3])
def test_a_solution_that_is_not_unique_is_the_shortest(scale: float) -> None:
    """In the data's own lengths, however differently the variables are scaled."""
    problem = with_equalities(11, 14, 3, rank=6)
    lengths = torch.ones(14, dtype=torch.float64)
    lengths[::2] = scale
    P, q, A, b = problem.tensors
    P, q, A = lengths[:, None] * P * lengths, lengths * q, A * lengths
    K = torch.zeros(11, 17, 17, dtype=torch.float64)
    K[:, :14, :14], K[:, 14:, :14], K[:, :14, 14:] = P, A, A.mT
    x = NativeInteriorPoint().solve(DenseQP(P=P, q=q, A=A, b=b)).point[0]
    shortest = (torch.linalg.pinv(K, rtol=1e-13) @ torch.cat([-q, b], -1)[..., None])[:, :14, 0]
    torch.testing.assert_close(x, shortest, rtol=0, atol=1e-8 * float(shortest.abs().max()))


def test_a_large_system_that_the_batch_shares() -> None:
    problem = with_equalities(20, 140, 6, shared=True)
    P, q, A, b = problem.tensors
    K = torch.cat([torch.cat([P, A.mT], -1), torch.cat([A, torch.zeros(6, 6, dtype=P.dtype)], -1)])
    expected = torch.linalg.solve(K, torch.cat([-q, b], -1).mT).mT
    solved = NativeInteriorPoint().solve(problem)
    torch.testing.assert_close(
        torch.cat(solved.point[:2], -1), expected, rtol=0, atol=1e-9 * float(expected.abs().max())
    )
    native, reference = gradients(problem, NativeActiveSetAdjoint()), gradients(problem, ActiveSetAdjoint())
    for got, want in zip(native, reference, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-9 * float(want.abs().max()))
