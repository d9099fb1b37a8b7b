"""The compiled quadratic programs against the batched torch solver and adjoint, on every instruction set there is."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from declarative.runtime import implicit
from declarative.runtime.adjoints.active_set import ActiveSetAdjoint
from declarative.runtime.adjoints.native_active_set import NativeActiveSetAdjoint
from declarative.runtime.native import library
from declarative.runtime.problem import Adjoint
from declarative.runtime.quadratic import DenseQP
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


class NoReference(Adjoint):
    """An adjoint in whose place nothing may be called."""

    differentiable = True

    def solve(self, *_: object) -> tuple[Tensor, ...]:
        raise AssertionError("handed to the reference")


def only_native() -> NativeActiveSetAdjoint:
    adjoint = NativeActiveSetAdjoint()
    adjoint.reference = NoReference()
    return adjoint


def make(batch: int, n: int, m: int = 0, p: int = 0, *, box: bool = False, rank: int | None = None) -> DenseQP:
    at = torch.Generator().manual_seed(n + 10 * m + 100 * p)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, dtype=torch.float64, generator=at)

    root, inside, A, G = normal(n, n if rank is None else rank), normal(n), normal(p, n), normal(m, n)
    return DenseQP(
        P=root @ root.mT + (0.1 * torch.eye(n).double() if rank is None else 0),
        q=3 * normal(n),
        A=A if p else None,
        b=(A @ inside[..., None])[..., 0] if p else None,
        G=G if m else None,
        h=(G @ inside[..., None])[..., 0] + normal(m).abs() if m else None,
        lower=inside - normal(n).abs() if box else None,
        upper=inside + normal(n).abs() if box else None,
    )


CASES = [
    pytest.param(make(11, 8, 6, 3, box=True), id="everything"),
    pytest.param(make(16, 10, 5, 2), id="inequalities-and-equalities"),
    pytest.param(make(3, 9, 12), id="few"),
    pytest.param(make(1, 60, 50, 7), id="one-large"),
    pytest.param(make(9, 8, box=True), id="box"),
    pytest.param(make(8, 8, 6, 2, box=True, rank=0), id="linear"),
    pytest.param(make(8, 8, 0, 3, box=True, rank=3), id="semidefinite"),
    pytest.param(make(2, 1, 1), id="scalar"),
]


def gradients(problem: DenseQP, adjoint: Adjoint, parts: int = 4) -> tuple[Tensor, ...]:
    tensors = [t.detach().clone().requires_grad_() for t in problem.tensors]
    point = implicit.solve(problem.with_tensors(tensors), NativeInteriorPoint(), adjoint).point[:parts]
    at = torch.Generator().manual_seed(0)
    bar = [torch.randn(p.shape, dtype=torch.float64, generator=at).to(p.dtype) for p in point]
    return torch.autograd.grad(point, tensors, bar)


@pytest.mark.parametrize("problem", CASES)
def test_point_equals_that_of_the_reference(problem: DenseQP, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = InteriorPoint().solve(problem)
    monkeypatch.setattr(InteriorPoint, "solve", NoReference.solve)
    solved = NativeInteriorPoint().solve(problem)
    assert (solved.status == Status.SOLVED).all()
    assert float(solved.residual.max()) < 1e-13
    assert (solved.iterations > 0).all()
    for got, want in zip(solved.point, expected.point, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("problem", CASES)
def test_gradients_equal_those_of_the_reference(problem: DenseQP) -> None:
    native, reference = gradients(problem, only_native()), gradients(problem, ActiveSetAdjoint())
    for got, want in zip(native, reference, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)


def test_float32() -> None:
    single = make(11, 8, 6, 3, box=True)
    single = single.with_tensors([t.float() for t in single.tensors])
    double = single.with_tensors([t.double() for t in single.tensors])
    for got, want in zip(gradients(single, only_native()), gradients(double, only_native()), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-5 * float(want.abs().max()))


def test_parameters_of_every_batch_shape() -> None:
    """Gradients of what the batch shares, wholly or in one dimension, are sums over it."""
    whole = make(12, 6, 5, 1, box=True)
    tensors = [t.reshape(3, 4, *t.shape[1:]) for t in whole.tensors]
    P, q, A, b, G, h, lower, upper = tensors
    mixed = DenseQP(P=P[0, 0], q=q, A=A[:1, :1], b=b[:1, :1], G=G[0], h=h[0], lower=lower[:1, :1] - 9, upper=upper + 9)
    native, reference = gradients(mixed, only_native()), gradients(mixed, ActiveSetAdjoint())
    for got, want, parameter in zip(native, reference, mixed.tensors, strict=True):
        assert got.shape == parameter.shape
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_only_wanted_gradients_and_repeatable_sums() -> None:
    problem = make(64, 6, 5, 1)
    shared = problem.P[0].clone().requires_grad_()
    parts = dict(zip(("P", "q", "A", "b", "G", "h"), problem.tensors, strict=True))
    results = []
    for _ in range(5):
        x = implicit.solve(DenseQP(**{**parts, "P": shared}), NativeInteriorPoint(), only_native()).point[0]
        results.append(torch.autograd.grad(x.square().sum(), shared)[0])
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_dependent_rows_give_the_minimum_norm_multiplier() -> None:
    problem = make(8, 6, 4)
    twice = DenseQP(P=problem.P, q=problem.q, G=problem.G.repeat(1, 2, 1), h=problem.h.repeat(1, 2))
    native = gradients(twice, only_native(), parts=1)
    for got, want in zip(native, gradients(twice, ActiveSetAdjoint(), parts=1), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)


def test_inconsistent_cotangents_go_to_the_reference() -> None:
    """The multipliers of a row given twice have no derivative: its least-squares system is the reference's business."""
    problem = make(8, 6, 4)
    twice = DenseQP(P=problem.P, q=problem.q, G=problem.G.repeat(1, 2, 1), h=problem.h.repeat(1, 2))
    native, reference = gradients(twice, NativeActiveSetAdjoint()), gradients(twice, ActiveSetAdjoint())
    for got, want in zip(native, reference, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-8)


def test_a_failed_instance_leaves_its_neighbours_alone() -> None:
    problem = make(16, 6, 4, 2, box=True)
    parts = {name: getattr(problem, name).clone() for name in ("P", "q", "A", "b", "G", "h", "lower", "upper")}
    parts["G"][3, 1], parts["h"][3, 1] = -parts["G"][3, 0], -parts["h"][3, 0] - 1
    parts["q"][9, 0], parts["P"][12, 0, 0] = torch.nan, -10
    spoilt = DenseQP(**parts)
    solved, alone = NativeInteriorPoint().solve(spoilt), NativeInteriorPoint().solve(problem)
    failed = {3: Status.INFEASIBLE, 9: Status.NOT_FINITE, 12: Status.MAX_ITERATIONS}
    for index, status in failed.items():
        assert Status(int(solved.status[index])) is status
    good = [i for i in range(16) if i not in failed]
    for got, want in zip(solved.point, alone.point, strict=True):
        assert torch.equal(got[good], want[good])
    tensors = [t.clone().requires_grad_() for t in spoilt.tensors]
    x = implicit.solve(spoilt.with_tensors(tensors), NativeInteriorPoint(), only_native(), "nan").point[0]
    assert x[list(failed)].isnan().all()
    for gradient in torch.autograd.grad(x[good].square().sum(), tensors):
        assert not gradient[list(failed)].any()
        assert gradient[good].isfinite().all()


def test_infinite_bounds_and_fixed_variables() -> None:
    problem = make(8, 6, 4, 1, box=True)
    lower, upper, h = problem.lower.clone(), problem.upper.clone(), problem.h.clone() + 3
    lower[:, ::2], upper[:, 1], h[:, 2] = -INF, lower[:, 1], INF
    changed = DenseQP(P=problem.P, q=problem.q, G=problem.G, h=h, lower=lower, upper=upper)
    solved, expected = NativeInteriorPoint().solve(changed), InteriorPoint().solve(changed)
    assert torch.equal(solved.point[0][:, 1], lower[:, 1])
    for got, want in zip(solved.point, expected.point, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)
    for got, want in zip(gradients(changed, only_native()), gradients(changed, ActiveSetAdjoint()), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)


def test_second_derivatives_and_transforms_are_the_references() -> None:
    problem = make(2, 4, 3)

    def x_of(q: Tensor) -> Tensor:
        parts = [problem.tensors[0], q, *problem.tensors[2:]]
        return implicit.solve(problem.with_tensors(parts), NativeInteriorPoint(), NativeActiveSetAdjoint()).point[0]

    q = problem.q.clone().requires_grad_()
    assert torch.autograd.gradcheck(x_of, (q,))
    assert torch.autograd.gradgradcheck(x_of, (q,))
    jacobian = torch.func.jacrev(x_of)(problem.q)
    torch.testing.assert_close(torch.func.jacfwd(x_of)(problem.q), jacobian)


def test_threads_and_lanes_do_not_change_the_answer() -> None:
    problem = make(40, 12, 10, 3)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = NativeInteriorPoint().solve(problem)
        torch.set_num_threads(3)
        together = NativeInteriorPoint().solve(problem)
    finally:
        torch.set_num_threads(before)
    rolled = NativeInteriorPoint().solve(problem.with_tensors([t.roll(3, 0) for t in problem.tensors]))
    for one, three, turned in zip(alone.point, together.point, rolled.point, strict=True):
        assert torch.equal(one, three)
        assert torch.equal(one, turned.roll(-3, 0))


def test_a_compiled_program_calls_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make(4, 6, 4, 1)

    def x_of(q: Tensor) -> Tensor:
        parts = [problem.tensors[0], 2 * q, *problem.tensors[2:]]
        return implicit.solve(problem.with_tensors(parts), NativeInteriorPoint(), NativeActiveSetAdjoint()).point[0] + 1

    q = problem.q.clone().requires_grad_()
    expected = torch.autograd.grad(x_of(q).square().sum(), q)[0]
    monkeypatch.setattr(InteriorPoint, "solve", NoReference.solve)
    got = torch.autograd.grad(torch.compile(x_of, backend="eager")(q).square().sum(), q)[0]
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_solves_too() -> None:
    problem = make(64, 20, 20)
    expected = NativeInteriorPoint().solve(problem).point[0]
    child = os.fork()
    if child == 0:
        same = torch.equal(NativeInteriorPoint().solve(problem).point[0], expected)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
