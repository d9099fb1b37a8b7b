"""The cone solver against cvxpy's values and duals, and its failures instance by instance."""

from __future__ import annotations

import builtins
import copy

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from declarative.runtime.cone import ConePattern, ConePoint, ConeProgram
from declarative.runtime.errors import InputError, LayerError
from declarative.runtime.solvers.clarabel import Clarabel
from declarative.runtime.status import Status

torch.set_num_threads(2)


def from_cvxpy(problem):
    """The cone program that cvxpy hands to Clarabel."""
    data, *_ = problem.get_problem_data(cp.CLARABEL)
    dims, n = data["dims"], len(data["c"])
    P = sp.coo_matrix(sp.triu(data["P"])) if data.get("P") is not None else sp.coo_matrix((n, n))
    A = sp.coo_matrix(data["A"])
    cones = [("zero", dims.zero), ("nonneg", dims.nonneg)]
    cones += [("soc", k) for k in dims.soc] + [("psd", k) for k in dims.psd] + [("exp", dims.exp)]
    cones += [("pow", a) for a in dims.p3d]
    pattern = ConePattern(n, A.shape[0], tuple(P.row), tuple(P.col), tuple(A.row), tuple(A.col), tuple(cones))
    P_, q, A_, b = (torch.tensor(np.asarray(v, dtype=float)) for v in (P.data, data["c"], A.data, data["b"]))
    return ConeProgram(pattern, P=P_, q=q, A=A_, b=b)


def linear(rng, x):
    A = rng.normal(size=(12, 6))
    return cp.Problem(cp.Minimize(rng.normal(size=6) @ x), [A @ x <= A @ np.ones(6) + 1, x >= -3, x <= 3])


def quadratic(rng, x):
    L, A = rng.normal(size=(6, 6)), rng.normal(size=(2, 6))
    return cp.Problem(cp.Minimize(cp.sum_squares(L @ x) + rng.normal(size=6) @ x), [A @ x == 1, x >= -0.1])


def second_order(rng, x):
    M = rng.normal(size=(6, 6)) + 3 * np.eye(6)
    return cp.Problem(cp.Minimize(rng.normal(size=6) @ x + cp.norm(x - 1)), [cp.norm(M @ x) <= 2, cp.sum(x) == 0.3])


def semidefinite(rng, x):
    X, C = cp.Variable((3, 3), PSD=True), rng.normal(size=(3, 3))
    return cp.Problem(
        cp.Minimize(cp.sum_squares(X - (C + C.T)) + cp.sum_squares(x)), [cp.diag(X) == 1, x[0] == X[0, 1]]
    )


def exponential(rng, x):
    return cp.Problem(cp.Minimize(rng.normal(size=6) @ x - cp.sum(cp.entr(x))), [cp.sum(x) == 1])


def power(rng, x):
    return cp.Problem(cp.Maximize(cp.geo_mean(x[:2]) + x[2]), [cp.PowCone3D(x[3], x[4], x[2], 0.3), cp.norm(x) <= 1])


KINDS = [linear, quadratic, second_order, semidefinite, exponential, power]


@pytest.mark.parametrize("kind", KINDS)
def test_value_and_duals_agree_with_cvxpy(kind):
    problem = kind(np.random.default_rng(0), cp.Variable(6))
    program = from_cvxpy(problem)
    solved = Clarabel().solve(program)
    assert solved.status.item() == Status.SOLVED
    point = ConePoint(*solved.point)
    assert solved.residual.item() < 1e-12
    assert float(program.relative_residual(point)) < 1e-12

    data, chain, inverse = problem.get_problem_data(cp.CLARABEL, solver_opts={})
    raw = chain.solver.solve_via_data(data, False, False, {})
    problem.unpack_results(raw, chain, inverse)
    value = problem.value if isinstance(problem.objective, cp.Minimize) else -problem.value
    offset = inverse[-1][cp.settings.OFFSET] if isinstance(inverse[-1], dict) else 0
    assert float(program.objective(point.x)) + offset == pytest.approx(value, abs=1e-6)
    np.testing.assert_allclose(point.x, raw.x, atol=1e-4)
    np.testing.assert_allclose(point.z, raw.z, atol=1e-4)
    # Strong duality in the stated convention: 1/2 x'Px + q'x = -1/2 x'Px - b'z.
    quadratic_term = (point.x * program.p_times(point.x)).sum()
    assert float(program.objective(point.x) + quadratic_term / 2 + (program.b * point.z).sum()) == pytest.approx(
        0, abs=1e-10
    )


def test_duals_have_the_stated_signs():
    x = cp.Variable(3)
    rng = np.random.default_rng(1)
    A, c = np.array([[1.0, 0.5, 2.0]]), rng.normal(size=3) - 1
    equality, upper = A @ x == 1, x <= 0.3
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) + c @ x), [equality, upper])
    problem.solve(solver=cp.CLARABEL)
    # By hand: minimise x'x + c'x, rows A x + s = 1 with s = 0 and x + s = 0.3 with s >= 0.
    pattern = ConePattern(
        3, 4, (0, 1, 2), (0, 1, 2), (0, 0, 0, 1, 2, 3), (0, 1, 2, 0, 1, 2), (("zero", 1), ("nonneg", 3))
    )
    t = lambda v: torch.tensor(np.asarray(v, dtype=float))  # noqa: E731
    program = ConeProgram(pattern, P=t([2, 2, 2]), q=t(c), A=t([*A[0], 1, 1, 1]), b=t([1, 0.3, 0.3, 0.3]))
    point = ConePoint(*Clarabel().solve(program).point)
    np.testing.assert_allclose(point.x, x.value, atol=1e-6)
    np.testing.assert_allclose(
        point.z, np.concatenate([np.atleast_1d(equality.dual_value), upper.dual_value]), atol=1e-6
    )
    assert (point.z[1:] > 0.01).any()


def test_refinement_takes_x_to_the_last_digits():
    """Softmax has a closed form; an interior point alone stops far from it."""
    n, theta = 10, torch.tensor(np.random.default_rng(2).normal(size=10))
    program = softmax_program(n, theta)
    refined, plain = Clarabel().solve(program), Clarabel(refinements=0).solve(program)
    exact = torch.softmax(theta, -1)
    assert (refined.point[0][:n] - exact).abs().max() < 1e-14
    assert (plain.point[0][:n] - exact).abs().max() > 1e-12
    # The dual of 1'x = 1 is logsumexp(theta) - 1.
    assert float(refined.point[1][0]) == pytest.approx(float(theta.logsumexp(-1)) - 1, abs=1e-13)


def softmax_program(n, theta):
    """minimise -theta'x + 1't subject to 1'x = 1 and x log x <= t, that is (-t, x, 1) in K_exp; variables (x, t)."""
    rows, columns, values = [0] * n, list(range(n)), [1.0] * n
    for i in range(n):
        rows += [1 + 3 * i, 2 + 3 * i]
        columns += [n + i, i]
        values += [1.0, -1.0]
    pattern = ConePattern(2 * n, 1 + 3 * n, (), (), tuple(rows), tuple(columns), (("zero", 1), ("exp", n)))
    b = torch.zeros(1 + 3 * n, dtype=theta.dtype, device=theta.device)
    b[0] = 1
    b[3::3] = 1
    q = torch.cat([-theta, torch.ones_like(theta)], -1)
    like = {"dtype": theta.dtype, "device": theta.device}
    return ConeProgram(pattern, P=torch.empty(0, **like), q=q, A=torch.tensor(values, **like), b=b)


def box_program(q, b):
    """minimise 1/2 x'x + q'x subject to x <= b_0, -x <= b_1, elementwise over two variables."""
    pattern = ConePattern(2, 4, (0, 1), (0, 1), (0, 1, 2, 3), (0, 1, 0, 1), (("nonneg", 4),))
    A = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=q.dtype)
    return ConeProgram(pattern, P=torch.ones(2, dtype=q.dtype), q=q, A=A, b=b)


def test_one_bad_instance_does_not_touch_the_others():
    torch.manual_seed(0)
    q = torch.randn(5, 2, dtype=torch.float64)
    b = torch.full((5, 4), 0.5, dtype=torch.float64)
    b[1, 0], b[1, 2] = -2, 1  # x_0 <= -2 and x_0 >= -1
    q[3, 1] = torch.nan
    solved = Clarabel().solve(box_program(q, b))
    assert solved.status.tolist() == [0, Status.INFEASIBLE, 0, Status.NOT_FINITE, 0]
    good = [0, 2, 4]
    torch.testing.assert_close(solved.point[0][good], (-q[good]).clamp(-0.5, 0.5), rtol=0, atol=1e-13)
    for i in good:
        alone = Clarabel().solve(box_program(q[i], b[i]))
        assert all(torch.equal(part[i], single) for part, single in zip(solved.point, alone.point, strict=True))
    assert solved.point[0][3].isnan().all()
    assert solved.residual[3].isinf()


def test_infeasible_unbounded_and_iteration_limit():
    x = cp.Variable(2)
    infeasible = from_cvxpy(cp.Problem(cp.Minimize(x[0]), [cp.norm(x) <= 1, x[0] >= 2]))
    unbounded = from_cvxpy(cp.Problem(cp.Minimize(x[0] + x[1]), [x[0] >= 0]))
    assert Clarabel().solve(infeasible).status.item() == Status.INFEASIBLE
    assert Clarabel().solve(unbounded).status.item() == Status.UNBOUNDED
    program = from_cvxpy(semidefinite(np.random.default_rng(0), cp.Variable(6)))
    assert Clarabel(max_iterations=2, refinements=0).solve(program).status.item() == Status.MAX_ITERATIONS


TOLERANCES = [1e-13, 1e-11, 1e-9, 1e-7, 1e-5, 1e-3, 1e-2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("refinements", [0, 8])
def test_the_tolerance_is_the_largest_residual_of_a_solved_instance(kind, refinements):
    """It judges the point and does not change it, so that loosening it makes nothing fail."""
    for seed in range(3):
        program = from_cvxpy(kind(np.random.default_rng(seed), cp.Variable(6)))
        runs = [Clarabel(tolerance, refinements=refinements).solve(program) for tolerance in TOLERANCES]
        residual = runs[0].residual.item()
        for tolerance, run in zip(TOLERANCES, runs, strict=True):
            expected = Status.SOLVED if residual <= tolerance else Status.INACCURATE
            assert run.status.item() == (expected if residual <= 1e3 * tolerance else Status.MAX_ITERATIONS)
            assert all(torch.equal(a, b) for a, b in zip(run.point, runs[0].point, strict=True))


@pytest.mark.parametrize("limit", [4, 6, 8, 10, 12, 200])
def test_a_point_that_was_not_reached_is_judged_by_its_residual(limit):
    program = softmax_program(6, torch.randn(6, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    for dtype, default in [(torch.float64, 1e-9), (torch.float32, 1e-6)]:
        given = program.with_tensors([t.to(dtype) for t in program.tensors])
        run = Clarabel(max_iterations=limit, refinements=0).solve(given)
        assert (run.status.item() == Status.SOLVED) == (run.residual.item() <= default)
        assert (run.status.item() == Status.MAX_ITERATIONS) == (run.residual.item() > 1e3 * default)
    assert limit < 200 or run.status.item() == Status.SOLVED


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (2, 3), (2, 0)])
def test_every_batch_shape(shape):
    torch.manual_seed(1)
    q, b = torch.randn(*shape, 2, dtype=torch.float64), torch.full((4,), 0.5, dtype=torch.float64)
    solved = Clarabel().solve(box_program(q, b))
    assert [tuple(p.shape) for p in solved.point] == [(*shape, 2), (*shape, 4), (*shape, 4)]
    assert solved.status.shape == solved.iterations.shape == solved.residual.shape == torch.Size(shape)
    assert solved.status.dtype == torch.int8
    assert solved.iterations.dtype == torch.int32
    torch.testing.assert_close(solved.point[0], (-q).clamp(-0.5, 0.5), rtol=0, atol=1e-13)


def test_float32_is_solved_in_float64_and_returned_in_float32():
    theta = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    exact = torch.softmax(theta.double(), -1)
    solved = Clarabel().solve(softmax_program(6, theta[0]))
    assert all(p.dtype == torch.float32 for p in (*solved.point, solved.residual))
    torch.testing.assert_close(solved.point[0][:6], exact[0].float(), rtol=1e-7, atol=0)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_complementarity_is_exact(scale):
    torch.manual_seed(2)
    q, b = scale * torch.randn(8, 2, dtype=torch.float64), torch.full((4,), 0.5 * scale, dtype=torch.float64)
    _, z, s = Clarabel().solve(box_program(q, b)).point
    assert bool((z * s == 0).all())
    assert bool((z >= 0).all())
    assert bool((s >= 0).all())


def test_weak_activity_is_solved_exactly():
    """q = -b: the bound holds with equality and no force, where an interior point is accurate to 1e-5 only."""
    half = torch.full((4,), 0.5, dtype=torch.float64)
    solved = Clarabel().solve(box_program(torch.tensor([-0.5, -0.5], dtype=torch.float64), half))
    torch.testing.assert_close(solved.point[0], half[:2], rtol=0, atol=1e-12)
    assert solved.residual < 1e-12


def test_no_rows_and_no_variables():
    pattern = ConePattern(2, 0, (0, 1), (0, 1), (), (), ())
    empty = torch.empty(0, dtype=torch.float64)
    two = torch.tensor([2.0, 4.0], dtype=torch.float64)
    solved = Clarabel().solve(ConeProgram(pattern, P=two, q=two, A=empty, b=empty))
    torch.testing.assert_close(solved.point[0], -torch.ones(2, dtype=torch.float64))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="upper triangle"):
        ConePattern(2, 0, (1,), (0,), (), (), ())
    with pytest.raises(InputError, match="twice"):
        ConePattern(2, 1, (), (), (0, 0), (1, 1), (("zero", 1),))
    with pytest.raises(InputError, match="take 3 rows"):
        ConePattern(2, 1, (), (), (), (), (("exp", 1),))
    with pytest.raises(InputError, match=r"q has shape \(3,\)"):
        box_program(torch.zeros(3, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))
    with pytest.raises(TypeError, match="ConeProgram"):
        Clarabel().solve(object())


def test_missing_package_is_said_so(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "clarabel":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(LayerError, match="pip install clarabel"):
        Clarabel().solve(box_program(torch.zeros(2, dtype=torch.float64), torch.ones(4, dtype=torch.float64)))


def test_programs_can_be_copied():
    program = copy.deepcopy(box_program(torch.ones(2, dtype=torch.float64), torch.ones(4, dtype=torch.float64)))
    assert Clarabel().solve(program).status.item() == Status.SOLVED
