"""Gradients of cone programs against central differences and closed forms, through `implicit.solve`."""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from declarative.runtime import implicit
from declarative.runtime.adjoints.cone import ConeAdjoint
from declarative.runtime.affine_map import AffineMap
from declarative.runtime.cone import ConePattern, ConePoint, ConeProgram
from declarative.runtime.errors import AdjointWarning, InputError, SolveError
from declarative.runtime.solvers.clarabel import Clarabel

torch.set_num_threads(2)


def solve(program, on_failure="raise"):
    return ConePoint(*implicit.solve(program, Clarabel(), ConeAdjoint(), on_failure).point)


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


def linear():
    rng, x = np.random.default_rng(0), cp.Variable(4)
    A = rng.normal(size=(8, 4))
    return cp.Problem(cp.Minimize(rng.normal(size=4) @ x), [A @ x <= 1 + rng.uniform(size=8), x >= -2, x <= 2])


def quadratic():
    rng, x = np.random.default_rng(1), cp.Variable(4)
    L, A = rng.normal(size=(4, 4)), rng.normal(size=(1, 4))
    return cp.Problem(
        cp.Minimize(cp.quad_form(x, L.T @ L + np.eye(4)) + rng.normal(size=4) @ x), [A @ x == 1, x >= -0.1]
    )


def portfolio():
    rng, w = np.random.default_rng(2), cp.Variable(20)
    F = rng.normal(size=(20, 3))
    risk = cp.norm(cp.hstack([F.T @ w, cp.multiply(rng.uniform(0.3, 1, size=20), w)]))
    return cp.Problem(cp.Maximize(0.3 * rng.normal(size=20) @ w), [cp.sum(w) == 1, w >= 0, risk <= 0.4])


def nearest_correlation():
    C, X = np.random.default_rng(3).normal(size=(5, 5)), cp.Variable((5, 5), PSD=True)
    return cp.Problem(cp.Minimize(cp.sum_squares(X - (C + C.T) / 2)), [cp.diag(X) == 1])


def entropy():
    rng, x = np.random.default_rng(4), cp.Variable(5)
    A = rng.normal(size=(1, 5))
    return cp.Problem(cp.Minimize(rng.normal(size=5) @ x - cp.sum(cp.entr(x))), [cp.sum(x) == 1, A @ x <= 0.1])


def powers():
    x, y = cp.Variable(4), cp.Variable(2)
    return cp.Problem(
        cp.Minimize(cp.sum_squares(x - np.array([0.2, 0.3, 1.5, 1.0])) + cp.sum_squares(y + np.array([-1.0, 1.2]))),
        [cp.PowCone3D(x[0], x[1], y[0], 0.3), cp.PowCone3D(x[2], x[3], y[1], 0.7)],
    )


CASES = [linear, quadratic, portfolio, nearest_correlation, entropy, powers]


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_central_differences(case):
    """All four data, every part of the point, a step in a random direction of each datum."""
    program = from_cvxpy(case())
    generator = torch.Generator().manual_seed(0)
    data = [t.clone().requires_grad_() for t in program.tensors]
    point = solve(program.with_tensors(data))
    for k, part in enumerate(point):
        weights = torch.randn(part.shape, generator=generator, dtype=part.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("error", AdjointWarning)
            gradients = torch.autograd.grad((weights * part).sum(), data, retain_graph=True)
        for j, gradient in enumerate(gradients):
            if not gradient.numel():
                continue
            direction = torch.randn(gradient.shape, generator=generator, dtype=part.dtype)
            step = 1e-6

            def moved(sign, j=j, direction=direction, step=step):
                tensors = list(program.tensors)
                tensors[j] = tensors[j] + sign * step * direction
                return Clarabel().solve(program.with_tensors(tensors)).point

            numeric = (weights * (moved(1)[k] - moved(-1)[k])).sum() / (2 * step)
            torch.testing.assert_close((gradient * direction).sum(), numeric, rtol=1e-6, atol=1e-7)


def softmax_program(theta, temperature=1.0):
    """minimise -theta'x + temperature 1't with 1'x = 1 and x log x <= t; variables (x, t)."""
    n = theta.shape[-1]
    rows, columns, values = [0] * n, list(range(n)), [1.0] * n
    for i in range(n):
        rows += [1 + 3 * i, 2 + 3 * i]
        columns += [n + i, i]
        values += [1.0, -1.0]
    pattern = ConePattern(2 * n, 1 + 3 * n, (), (), tuple(rows), tuple(columns), (("zero", 1), ("exp", n)))
    like = {"dtype": theta.dtype, "device": theta.device}
    b = torch.zeros(1 + 3 * n, **like)
    b[0] = 1
    b[3::3] = 1
    q = torch.cat([-theta, temperature * torch.ones_like(theta)], -1)
    return ConeProgram(pattern, P=torch.empty(0, **like), q=q, A=torch.tensor(values, **like), b=b)


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_softmax_as_an_optimisation_has_the_gradient_of_softmax(scale):
    torch.manual_seed(0)
    theta = (scale * torch.randn(6, 10, dtype=torch.float64)).requires_grad_()
    weights = 30 * torch.randn(6, 10, dtype=torch.float64)
    x = solve(softmax_program(theta, 0.5)).x[:, :10]
    exact = torch.softmax(theta / 0.5, -1)
    torch.testing.assert_close(x, exact, rtol=1e-9, atol=1e-13)
    (got,) = torch.autograd.grad((weights * x).sum(), theta)
    (want,) = torch.autograd.grad((weights * exact).sum(), theta)
    torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-10)
    assert want.abs().max() > 1


def test_nuclear_norm_proximal_operator_is_singular_value_shrinkage():
    """minimise 1/2 ||X - Y||^2 + tau ||X||_*, whose value and differential have a closed form."""
    Y = cp.Parameter((3, 4), value=np.random.default_rng(5).normal(size=(3, 4)))
    X, tau = cp.Variable((3, 4)), 0.7
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - Y) / 2 + tau * cp.normNuc(X)))
    program = from_cvxpy(problem)
    # The data are affine in Y: read the map off by differences, which are exact.
    columns, base = [], [t.clone() for t in program.tensors]
    Y0 = Y.value.copy()
    for k in range(12):
        shifted = Y0.copy()
        shifted.flat[k] += 1
        Y.value = shifted
        columns.append([new - old for new, old in zip(from_cvxpy(problem).tensors, base, strict=True)])
    y = torch.tensor(Y0.reshape(-1), requires_grad=True)
    shift = y - torch.tensor(Y0.reshape(-1))
    data = [t + sum(shift[k] * columns[k][j] for k in range(12)) for j, t in enumerate(base)]
    point = solve(program.with_tensors(data))

    U, S, Vt = torch.linalg.svd(y.reshape(3, 4), full_matrices=False)
    exact = U @ torch.diag((S - tau).clamp_min(0)) @ Vt
    # X's entries lie somewhere in x: find them, then compare the whole Jacobian.
    where = [int((point.x - value).abs().argmin()) for value in exact.reshape(-1)]
    torch.testing.assert_close(point.x[where], exact.reshape(-1), rtol=0, atol=1e-11)
    weights = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (got,) = torch.autograd.grad((weights * point.x[where]).sum(), y, retain_graph=True)
    (want,) = torch.autograd.grad((weights * exact.reshape(-1)).sum(), y)
    torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)


def box(q, b, P=None, A=None):
    """minimise 1/2 P x^2 + q'x with x <= b, -x <= b', two variables."""
    pattern = ConePattern(2, 4, (0, 1), (0, 1), (0, 1, 2, 3), (0, 1, 0, 1), (("nonneg", 4),))
    A = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=q.dtype) if A is None else A
    return ConeProgram(pattern, P=torch.ones(2, dtype=q.dtype) if P is None else P, q=q, A=A, b=b)


def test_batch_equals_loop_with_shared_and_batched_data():
    torch.manual_seed(1)
    P = (1 + torch.rand(2, dtype=torch.float64)).requires_grad_()
    q = torch.randn(3, 1, 2, dtype=torch.float64, requires_grad=True)
    A = (torch.tensor([1.0, 1.0, -1.0, -1.0]) + 0.1 * torch.randn(4)).double().requires_grad_()
    b = (0.5 + torch.rand(4, 4, dtype=torch.float64)).requires_grad_()
    data = (P, q, A, b)
    point = solve(box(q, b, P, A))
    assert point.x.shape == (3, 4, 2)
    weights = [torch.randn_like(p) for p in point]
    together = torch.autograd.grad(sum((w * p).sum() for w, p in zip(weights, point, strict=True)), data)

    total = 0
    for i in range(3):
        for j in range(4):
            one = solve(box(q[i, 0], b[j], P, A))
            for part, whole in zip(one, point, strict=True):
                torch.testing.assert_close(part, whole[i, j], rtol=0, atol=1e-14)
            total = total + sum((w[i, j] * p).sum() for w, p in zip(weights, one, strict=True))
    for got, want in zip(together, torch.autograd.grad(total, data), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)


def bad_batch():
    torch.manual_seed(2)
    q = torch.randn(4, 2, dtype=torch.float64)
    b = torch.full((4, 4), 0.5, dtype=torch.float64)
    b[1, 0], b[1, 2] = -2, 1
    q[2, 0] = torch.nan
    return q, b


def test_failures_raise_by_name():
    q, b = bad_batch()
    with pytest.raises(SolveError, match=r"(?s)2 of 4 .*instance 1: infeasible.*instance 2: not_finite"):
        solve(box(q, b))


def test_failures_can_be_nan_with_zero_gradient_and_the_rest_exact():
    q, b = (t.requires_grad_() for t in bad_batch())
    P = torch.ones(2, dtype=torch.float64, requires_grad=True)
    point = solve(box(q, b, P), "nan")
    assert point.x[[1, 2]].isnan().all()
    torch.testing.assert_close(point.x[[0, 3]], (-q[[0, 3]]).clamp(-0.5, 0.5), rtol=0, atol=1e-13)
    gradients = torch.autograd.grad(point.x[[0, 3]].sum() + point.x[1].nan_to_num().sum(), (q, b, P))
    good = [0, 3]
    alone = solve(box(q[good], b[good], P))
    for got, want in zip(gradients, torch.autograd.grad(alone.x.sum(), (q, b, P)), strict=True):
        torch.testing.assert_close(got, want)
    assert (gradients[0][[1, 2]] == 0).all()
    assert (gradients[1][[1, 2]] == 0).all()


def test_float32_in_float32_out():
    torch.manual_seed(3)
    theta = torch.randn(4, 6, requires_grad=True)
    x = solve(softmax_program(theta)).x[:, :6]
    assert x.dtype == torch.float32
    weights = torch.randn(4, 6)
    (got,) = torch.autograd.grad((weights * x).sum(), theta)
    (want,) = torch.autograd.grad((weights * torch.softmax(theta, -1)).sum(), theta)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_empty_batch():
    q = torch.empty(0, 2, dtype=torch.float64, requires_grad=True)
    b = torch.ones(4, dtype=torch.float64, requires_grad=True)
    point = solve(box(q, b))
    assert point.x.shape == (0, 2)
    gq, gb = torch.autograd.grad(sum(p.sum() for p in point), (q, b))
    assert gq.shape == (0, 2)
    assert torch.equal(gb, torch.zeros_like(b))


def test_functional_transforms():
    torch.manual_seed(4)
    theta = torch.randn(3, 5, dtype=torch.float64)

    def layer(t):
        return solve(softmax_program(t)).x[..., :5]

    def exact(t):
        return torch.softmax(t, -1)

    jacobian = torch.func.jacrev(layer)(theta[0])
    torch.testing.assert_close(jacobian, torch.func.jacrev(exact)(theta[0]), rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(torch.func.jacfwd(layer)(theta[0]), jacobian, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(torch.func.vmap(layer)(theta), exact(theta), rtol=1e-9, atol=1e-12)
    per_sample = torch.func.vmap(torch.func.jacrev(layer))(theta)
    torch.testing.assert_close(per_sample, torch.func.vmap(torch.func.jacrev(exact))(theta), rtol=1e-8, atol=1e-11)


def test_second_derivatives_are_the_formulas():
    """Of the softmax as an exponential cone program, in every order of forward and reverse mode."""
    theta = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def layer(t):
        return solve(softmax_program(t)).x[0]

    expected = torch.func.hessian(lambda t: torch.softmax(t, -1)[0])(theta)
    for inner in (torch.func.jacfwd, torch.func.jacrev):
        for outer in (torch.func.jacfwd, torch.func.jacrev):
            torch.testing.assert_close(outer(inner(layer))(theta), expected, rtol=1e-7, atol=1e-10)


def test_third_derivatives_are_refused():
    theta = torch.randn(3, dtype=torch.float64, requires_grad=True)
    x = solve(softmax_program(theta)).x
    (gradient,) = torch.autograd.grad(x[0], theta, create_graph=True)
    (second,) = torch.autograd.grad(gradient[0], theta, create_graph=True)
    with pytest.raises(NotImplementedError, match="third derivatives of a cone program"):
        torch.autograd.grad(second[0], theta)
    for outer in (torch.func.jacfwd, torch.func.jacrev):
        with pytest.raises(NotImplementedError, match="third derivatives of a cone program"):
            outer(torch.func.hessian(lambda t: solve(softmax_program(t)).x[0]))(theta.detach())


def test_redundant_rows_share_the_multiplier_and_x_is_exact():
    """x_0 <= 0.5 stated twice: LICQ fails, dx is still determined and the duals' gradient warns."""
    pattern = ConePattern(2, 3, (0, 1), (0, 1), (0, 1, 2), (0, 0, 1), (("nonneg", 3),))
    q = torch.tensor([-2.0, -0.3], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
    ones = torch.ones(3, dtype=torch.float64)
    point = solve(ConeProgram(pattern, P=ones[:2], q=q, A=ones, b=b))
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdjointWarning)
        gq, gb = torch.autograd.grad(point.x.sum(), (q, b), retain_graph=True)
    torch.testing.assert_close(gq, torch.tensor([0.0, -1.0], dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(gb, torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64), rtol=0, atol=1e-12)
    with pytest.warns(AdjointWarning, match="least residual"):
        torch.autograd.grad(point.z[0], q)


def test_free_epigraph_variable_does_not_disturb_the_rest():
    """A variable that appears nowhere: its adjoint is least-norm, zero."""
    pattern = ConePattern(2, 1, (0,), (0,), (0,), (0,), (("nonneg", 1),))
    q = torch.tensor([-2.0, 0.0], dtype=torch.float64, requires_grad=True)
    one = torch.ones(1, dtype=torch.float64)
    b = torch.tensor([3.0], dtype=torch.float64)
    point = solve(ConeProgram(pattern, P=one, q=q, A=one, b=b))
    assert float(point.x[0]) == pytest.approx(2, abs=1e-12)
    (gradient,) = torch.autograd.grad(point.x[0], q)
    torch.testing.assert_close(gradient, torch.tensor([-1.0, 0.0], dtype=torch.float64))


def test_adjoint_residual_is_measured():
    program = from_cvxpy(nearest_correlation())
    point = Clarabel().solve(program).point
    torch.manual_seed(5)
    cotangent = tuple(torch.randn_like(p) for p in point)
    u = ConeAdjoint().solve(program, point, cotangent)
    assert float(ConeAdjoint().residual(program, point, cotangent, u)) < 1e-10
    wrong = tuple(1.01 * part for part in u)
    assert float(ConeAdjoint().residual(program, point, cotangent, wrong)) > 1e-3


def test_large_programs_take_the_sparse_path():
    """A projection onto the simplex with 400 variables: the adjoint against its closed form."""
    n = 400
    rows = [0] * n + list(range(1, n + 1))
    pattern = ConePattern(
        n, n + 1, tuple(range(n)), tuple(range(n)), tuple(rows), tuple(range(n)) * 2, (("zero", 1), ("nonneg", n))
    )
    torch.manual_seed(6)
    y = torch.randn(n, dtype=torch.float64, requires_grad=True)
    like = {"dtype": torch.float64}
    A = torch.cat([torch.ones(n, **like), -torch.ones(n, **like)])
    b = torch.zeros(n + 1, **like)
    b[0] = 5
    x = solve(ConeProgram(pattern, P=torch.ones(n, **like), q=-y, A=A, b=b)).x
    weights = torch.randn(n, **like)
    (got,) = torch.autograd.grad((weights * x).sum(), y)
    support = (x > 0).double()
    want = support * (weights - (support * weights).sum() / support.sum())
    torch.testing.assert_close(got, want, rtol=0, atol=1e-11)
    assert 1 < support.sum() < n


def test_conditions_of_a_regular_solution():
    for case in (linear, quadratic, portfolio, nearest_correlation, entropy, powers):
        program = from_cvxpy(case())
        solved = Clarabel().solve(program)
        conditions = program.conditions(solved.point)
        assert conditions.licq_rank == conditions.licq_rows
        assert conditions.complementarity > 1e-3
        assert conditions.second_order > 1e-3
        assert conditions.kkt_residual < 1e-12
        assert conditions.adjoint_condition < 1e6


def test_conditions_tell_which_fails():
    half = torch.full((4,), 0.5, dtype=torch.float64)
    q = torch.tensor([[-0.5, 0.2], [-0.8, 0.1]], dtype=torch.float64)  # x_0 = 0.5 without and with a force
    program = box(q, half)
    conditions = program.conditions(Clarabel().solve(program).point)
    torch.testing.assert_close(
        conditions.complementarity, torch.tensor([0, 0.3], dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert conditions.complementarity_row.tolist() == [0, 0]
    assert conditions.licq_rows.tolist() == [0, 1]
    torch.testing.assert_close(conditions.second_order, torch.ones(2, dtype=torch.float64))

    # The same row twice: rank one of two. A linear objective along the face: no curvature.
    pattern = ConePattern(2, 2, (), (), (0, 0, 1, 1), (0, 1, 0, 1), (("nonneg", 2),))
    ones = torch.ones(4, dtype=torch.float64)
    program = ConeProgram(pattern, P=ones[:0], q=-ones[:2], A=ones, b=ones[:2])
    half_each = torch.tensor([0.5, 0.5], dtype=torch.float64)
    conditions = program.conditions((half_each, half_each, torch.zeros(2, dtype=torch.float64)))
    assert (conditions.licq_rank.item(), conditions.licq_rows.item()) == (1, 2)
    assert float(conditions.second_order) == pytest.approx(0, abs=1e-14)
    assert conditions.adjoint_condition.isinf()
    assert conditions.kkt_residual == 0


def test_conditions_see_the_curvature_of_a_cone():
    """minimise q'x on the unit ball: no curvature in the objective, but x = -q/|q| is unique, with curvature |q|."""
    pattern = ConePattern(3, 4, (), (), (1, 2, 3), (0, 1, 2), (("soc", 4),))
    q = torch.tensor([1.0, 2.0, -2.0], dtype=torch.float64)
    b = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    program = ConeProgram(pattern, P=q[:0], q=q, A=-torch.ones(3, dtype=torch.float64), b=b)
    point = Clarabel().solve(program).point
    torch.testing.assert_close(point[0], -q / 3, rtol=0, atol=1e-12)
    conditions = program.conditions(point)
    assert float(conditions.second_order) == pytest.approx(3, rel=1e-9)
    assert (conditions.licq_rank.item(), conditions.licq_rows.item()) == (1, 1)


def test_affine_map_equals_the_dense_matrix():
    entries = ([0, 2, 2, 0], [1, 0, 4, 1], [2.0, -1.0, 0.5, 3.0])
    affine = AffineMap(3, 5, entries, {1: 7.0})
    M = torch.zeros(3, 5, dtype=torch.float64)
    for i, j, value in zip(*entries, strict=True):
        M[i, j] += value
    constant = torch.tensor([0.0, 7.0, 0.0], dtype=torch.float64)
    theta = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(affine(theta), theta @ M.T + constant)
    torch.testing.assert_close(torch.func.jacrev(affine)(theta[0, 0]), M)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(affine))(theta[0]), M.expand(4, 3, 5))
    assert affine(theta.float()).dtype == torch.float32
    assert torch.autograd.gradgradcheck(affine, theta)
    dense = AffineMap(3, 5, entries, constant.tolist())
    torch.testing.assert_close(dense(theta), affine(theta))


def test_affine_map_in_pieces_batches_only_over_what_it_reads():
    affine = AffineMap(2, 5, ([0, 1], [0, 4], [1.0, 2.0]))
    head, middle, tail = torch.randn(2), torch.randn(7, 2), torch.randn(1)
    torch.testing.assert_close(affine(head, middle, tail), torch.stack([head[0], 2 * tail[0]]))
    assert affine(head, middle, tail.expand(3, 1)).shape == (3, 2)
    assert AffineMap(2, 5, constant=[1.0, 2.0])(torch.randn(7, 5)).shape == (2,)
    with pytest.raises(InputError, match="2 \\+ 2 entries, expected 5"):
        affine(head, middle)
    with pytest.raises(InputError, match="outside"):
        AffineMap(2, 5, ([2], [0], [1.0]))
