"""The compiled quadratic programs in float32, with shared matrices, and where instances are dealt out one by one."""

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
from declarative.runtime.solvers.interior_point import InteriorPoint
from declarative.runtime.solvers.native_interior_point import NativeInteriorPoint
from declarative.runtime.status import Status

pytestmark = pytest.mark.skipif(library.library() is None, reason="installed without a compiler")


@pytest.fixture(params=[2, 1, 0], ids=["best", "avx2", "baseline"], autouse=True)
def every_instruction_set(request: pytest.FixtureRequest) -> object:
    library.limit_instructions(request.param)
    yield
    library.limit_instructions(2)


def refuse(*_: object) -> None:
    raise AssertionError("handed to the reference")


def make(batch: int, n: int, m: int, p: int, *, box: bool = False, shared: bool = False, spread: float = 1) -> DenseQP:
    """Curvatures between one and ``spread``; the matrices of all instances the same where ``shared``."""
    at = torch.Generator().manual_seed(n + 10 * m + 100 * p)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=at)

    own = () if shared else (batch,)
    basis = torch.linalg.qr(normal(*own, n, n))[0]
    curvature = torch.logspace(0, torch.log10(torch.tensor(spread)).item(), n, dtype=torch.float64)
    A, G, inside = normal(*own, p, n), normal(*own, m, n), normal(batch, n)
    return DenseQP(
        P=(basis * curvature) @ basis.mT,
        q=3 * normal(batch, n),
        A=A if p else None,
        b=(A @ inside[..., None])[..., 0] if p else None,
        G=G if m else None,
        h=(G @ inside[..., None])[..., 0] + normal(batch, m).abs() if m else None,
        lower=inside - normal(batch, n).abs() if box else None,
        upper=inside + normal(batch, n).abs() if box else None,
    )


def in_single(problem: DenseQP) -> tuple[DenseQP, DenseQP]:
    """The problem in float32, and the same numbers in float64."""
    single = problem.with_tensors([t.float() for t in problem.tensors])
    return single, single.with_tensors([t.double() for t in single.tensors])


def gradients(problem: DenseQP, adjoint: Adjoint) -> tuple[Tensor, ...]:
    tensors = [t.detach().clone().requires_grad_() for t in problem.tensors]
    x = implicit.solve(problem.with_tensors(tensors), NativeInteriorPoint(), adjoint).point[0]
    at = torch.Generator().manual_seed(0)
    return torch.autograd.grad(x, tensors, torch.randn(x.shape, dtype=torch.float64, generator=at).to(x.dtype))


SINGLE = [
    pytest.param(make(37, 12, 8, 3, box=True), id="everything"),
    pytest.param(make(32, 30, 30, 0), id="inequalities"),
    pytest.param(make(33, 20, 0, 6), id="equalities"),
    pytest.param(make(2, 40, 20, 5), id="one-by-one"),
    pytest.param(make(33, 20, 10, 4, shared=True), id="shared"),
]


@pytest.mark.parametrize("problem", SINGLE)
def test_float32_is_right_to_rounding(problem: DenseQP, monkeypatch: pytest.MonkeyPatch) -> None:
    single, double = in_single(problem)
    expected = InteriorPoint().solve(double)
    monkeypatch.setattr(InteriorPoint, "solve", refuse)
    solved = NativeInteriorPoint().solve(single)
    assert (solved.status == Status.SOLVED).all()
    for got, want in zip(solved.point, expected.point, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(
            got.double(), want, rtol=0, atol=3e-6 * (1 + float(want.abs().max())) if want.numel() else 0
        )
    residual = double.relative_residual(tuple(t.double() for t in solved.point))
    assert float(residual.max()) < 1e-5
    torch.testing.assert_close(solved.residual.double(), residual, rtol=0, atol=1e-6)


@pytest.mark.parametrize("problem", SINGLE)
def test_float32_gradients(problem: DenseQP) -> None:
    single, double = in_single(problem)
    for got, want in zip(
        gradients(single, NativeActiveSetAdjoint()), gradients(double, ActiveSetAdjoint()), strict=True
    ):
        torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-5 * (1 + float(want.abs().max())))


def test_what_float32_cannot_resolve_is_solved_in_float64() -> None:
    """With curvatures far apart float32 factors say little about x; in few lanes and in many."""
    hard, easy = make(48, 20, 10, 3, spread=3e3), make(48, 20, 10, 3)
    mixed = easy.with_tensors([torch.cat([e[:40], h[:8]]) for e, h in zip(easy.tensors, hard.tensors, strict=True)])
    for problem in (hard, mixed):
        single, double = in_single(problem)
        solved, expected = NativeInteriorPoint().solve(single), InteriorPoint().solve(double).point[0]
        assert (solved.status == Status.SOLVED).all()
        torch.testing.assert_close(solved.point[0].double(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
        native, reference = gradients(single, NativeActiveSetAdjoint()), gradients(double, ActiveSetAdjoint())
        for got, want in zip(native, reference, strict=True):
            torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-4 * float(want.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sizes", [(20, 10, 4), (12, 8, 0), (12, 0, 4), (12, 0, 0), (1, 0, 0), (9, 0, 8), (50, 0, 10)])
def test_shared_matrices_equal_matrices_of_each_instance(sizes: tuple[int, int, int], dtype: torch.dtype) -> None:
    shared = make(37, *sizes, shared=True)
    shared = shared.with_tensors([t.to(dtype) for t in shared.tensors])

    def expand(matrix: Tensor) -> Tensor:
        return matrix.expand(37, *matrix.shape).clone()

    A, G = (None if t is None else expand(t) for t in (shared.A, shared.G))
    own = DenseQP(P=expand(shared.P), q=shared.q, A=A, b=shared.b, G=G, h=shared.h)
    close = 1e-12 if dtype == torch.float64 else 1e-6
    one, each = NativeInteriorPoint().solve(shared), NativeInteriorPoint().solve(own)
    for got, want in zip(one.point, each.point, strict=True):
        torch.testing.assert_close(got, want, rtol=10 * close, atol=10 * close)
    native, reference = gradients(shared, NativeActiveSetAdjoint()), gradients(own, NativeActiveSetAdjoint())
    for got, want in zip(native, reference, strict=True):
        whole = want.sum(0) if want.dim() > got.dim() else want
        torch.testing.assert_close(got, whole, rtol=0, atol=1e3 * close * (1 + float(whole.abs().max())))


def test_one_indefinite_matrix_for_all_is_refused_for_all() -> None:
    shared = make(37, 12, 0, 4, shared=True)
    P = torch.linalg.qr(shared.P).Q
    P = P @ torch.diag(torch.linspace(-0.5, 1, 12, dtype=torch.float64)) @ P.mT
    solved = NativeInteriorPoint().solve(DenseQP(P=P, q=shared.q, A=shared.A, b=shared.b))
    assert not bool((solved.status == 0).any())


def test_dependent_rows_that_all_share_have_the_least_multipliers() -> None:
    shared = make(37, 12, 0, 4, shared=True)
    assert shared.A is not None
    assert shared.b is not None
    A, b = torch.cat([shared.A, shared.A[:1]]), torch.cat([shared.b, shared.b[:, :1]], -1)
    solved = NativeInteriorPoint().solve(DenseQP(P=shared.P, q=shared.q, A=A, b=b))
    x, nu = solved.point[:2]
    assert bool((solved.status == 0).all())
    torch.testing.assert_close(x @ A.mT, b, rtol=0, atol=1e-11)
    torch.testing.assert_close(nu[:, 0], nu[:, 4], rtol=0, atol=1e-10)
    force = x @ shared.P + shared.q
    torch.testing.assert_close(nu, -force @ torch.linalg.pinv(A), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_large_instance(dtype: torch.dtype) -> None:
    problem = make(2, 160, 90, 20)
    problem = problem.with_tensors([t.to(dtype) for t in problem.tensors])
    double = problem.with_tensors([t.double() for t in problem.tensors])
    solved, expected = NativeInteriorPoint().solve(problem), InteriorPoint().solve(double)
    limit = 1e-9 if dtype == torch.float64 else 1e-5
    for got, want in zip(solved.point, expected.point, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=0, atol=limit * (1 + float(want.abs().max())))


@pytest.mark.parametrize("problem", [make(40, 12, 10, 3), make(3, 120, 100, 3), make(40, 12, 10, 3, shared=True)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_threads_do_not_change_the_answer(problem: DenseQP, dtype: torch.dtype) -> None:
    problem = problem.with_tensors([t.to(dtype) for t in problem.tensors])
    before, solved = torch.get_num_threads(), list[Solved]()
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            solved.append(NativeInteriorPoint().solve(problem))
    finally:
        torch.set_num_threads(before)
    for other in solved[1:]:
        assert all(torch.equal(a, b) for a, b in zip(solved[0].point, other.point, strict=True))
