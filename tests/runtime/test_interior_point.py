"""`InteriorPoint` on `DenseQP` against cvxpy with Clarabel at tight tolerances, closed forms, and itself."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from declarative.runtime import implicit
from declarative.runtime.adjoints.active_set import ActiveSetAdjoint
from declarative.runtime.errors import InputError, SolveError
from declarative.runtime.problem import Solved
from declarative.runtime.quadratic import DenseQP, QPPoint
from declarative.runtime.solvers.interior_point import InteriorPoint
from declarative.runtime.status import Status

INF = float("inf")


@pytest.fixture(autouse=True)
def modest_threads() -> None:
    torch.set_num_threads(1)


def make(
    batch: tuple[int, ...], n: int, m: int = 0, p: int = 0, *, box: bool = False, rank: int | None = None, seed: int = 0
) -> DenseQP:
    """Random programs with a strictly feasible point; ``rank`` is that of P, zero for a linear program."""
    at = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*batch, *shape, dtype=torch.float64, generator=at)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*batch, *shape, dtype=torch.float64, generator=at) + 0.1

    root = normal(n, n if rank is None else rank)
    inside = normal(n)
    A, G = normal(p, n), normal(m, n)
    return DenseQP(
        P=root @ root.mT,
        q=3 * normal(n),
        A=A if p else None,
        b=(A @ inside[..., None])[..., 0] if p else None,
        G=G if m else None,
        h=(G @ inside[..., None])[..., 0] + uniform(m) if m else None,
        lower=inside - uniform(n) if box else None,
        upper=inside + uniform(n) if box else None,
    )


def instance(problem: DenseQP, index: tuple[int, ...]) -> DenseQP:
    batch = problem.batch_shape
    return problem.with_tensors(
        [
            t.expand(*batch, *t.shape[t.dim() - r :])[index]
            for t, r in zip(problem.tensors, problem.core_ranks, strict=True)
        ]
    )


def oracle(problem: DenseQP) -> QPPoint:
    """One instance by cvxpy; duals in the convention of `QPPoint`."""
    data = {
        k: None if (t := getattr(problem, k)) is None else t.double().numpy() for k in ("P", "q", "A", "b", "G", "h")
    }
    x = cp.Variable(problem.n)
    P = (data["P"] + data["P"].T) / 2
    constraints, eq, ineq, upper, lower = [], None, None, [], []
    if problem.A is not None:
        constraints.append(eq := data["A"] @ x == data["b"])
    if problem.G is not None:
        finite = np.isfinite(data["h"])
        constraints.append(ineq := data["G"][finite] @ x <= data["h"][finite])
    for i in range(problem.n):
        for bound, sign, store in ((problem.upper, 1, upper), (problem.lower, -1, lower)):
            if bound is not None and np.isfinite(float(bound[i])):
                constraints.append(row := sign * x[i] <= sign * float(bound[i]))
                store.append((i, row))
    program = cp.Problem(cp.Minimize(0.5 * cp.quad_form(x, cp.psd_wrap(P)) + data["q"] @ x), constraints)
    program.solve(cp.CLARABEL, tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13)
    bounds, rows = np.zeros(problem.n), np.zeros(problem.m)
    for store, sign in ((upper, 1), (lower, -1)):
        for i, row in store:
            bounds[i] += sign * row.dual_value
    if ineq is not None:
        rows[finite] = ineq.dual_value
    values = (x.value, np.zeros(0) if eq is None else eq.dual_value, rows, bounds)
    return QPPoint(*(torch.tensor(np.asarray(v, dtype=float)) for v in values))


def assert_matches_oracle(problem: DenseQP, solved: Solved, atol: float = 1e-6, duals: bool = True) -> None:
    assert (solved.status == Status.SOLVED).all()
    for index in np.ndindex(*problem.batch_shape):
        expected = oracle(instance(problem, index))
        for got, want in list(zip(solved.point, expected, strict=True))[: 4 if duals else 1]:
            torch.testing.assert_close(got[index], want, rtol=1e-6, atol=atol)


@pytest.mark.parametrize(
    ("n", "m", "p", "box", "rank"),
    [
        pytest.param(8, 6, 3, True, None, id="everything"),
        pytest.param(8, 12, 0, False, None, id="inequalities"),
        pytest.param(8, 0, 3, False, None, id="equalities"),
        pytest.param(8, 0, 0, False, None, id="unconstrained"),
        pytest.param(8, 0, 0, True, None, id="box"),
        pytest.param(8, 0, 3, True, 3, id="semidefinite"),
        pytest.param(8, 6, 2, True, 0, id="linear"),
        pytest.param(40, 30, 5, True, 20, id="larger"),
        pytest.param(1, 1, 0, False, None, id="scalar"),
    ],
)
def test_point_and_duals_equal_cvxpy(n: int, m: int, p: int, box: bool, rank: int | None) -> None:
    problem = make((3,), n, m, p, box=box, rank=rank)
    solved = InteriorPoint().solve(problem)
    assert_matches_oracle(problem, solved)
    assert float(solved.residual.max()) <= 1e-12


def test_the_end_is_exact() -> None:
    """Inactive multipliers are zero and active rows tight to rounding, not to an interior point's tolerance."""
    problem = make((16,), 10, 12, 2, box=True, seed=3)
    x, _, ineq, bounds = InteriorPoint().solve(problem).point
    slack = problem.h - (problem.G @ x[..., None])[..., 0]
    assert ((ineq == 0) | (slack.abs() < 1e-13 * 20)).all()
    assert (ineq == 0).any()
    assert (ineq > 0).any()
    held = bounds != 0
    assert held.any()
    assert (~held).any()
    assert torch.equal(x[held], torch.where(bounds > 0, problem.upper, problem.lower)[held])


def test_dependent_equality_rows() -> None:
    problem = make((4,), 8, 6, 3, seed=1)
    mix = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [2, 0, -1]], dtype=torch.float64)
    redundant = DenseQP(P=problem.P, q=problem.q, A=mix @ problem.A, b=problem.b @ mix.T, G=problem.G, h=problem.h)
    solved = InteriorPoint().solve(redundant)
    assert (solved.status == Status.SOLVED).all()
    plain = InteriorPoint().solve(problem).point
    torch.testing.assert_close(solved.point[0], plain[0], rtol=0, atol=1e-11)
    torch.testing.assert_close(solved.point[1] @ mix, plain[1], rtol=0, atol=1e-9)


def test_infinite_entries_are_no_constraint() -> None:
    problem = make((3,), 6, 5, 1, box=True, seed=2)
    lower, upper, h = problem.lower.clone(), problem.upper.clone(), problem.h.clone()
    lower[:, ::2], upper[:, 1::3], h[:, 2] = -INF, INF, INF
    opened = DenseQP(P=problem.P, q=problem.q, A=problem.A, b=problem.b, G=problem.G, h=h, lower=lower, upper=upper)
    assert_matches_oracle(opened, InteriorPoint().solve(opened))


def test_fixed_variables_and_their_multipliers() -> None:
    problem = make((3,), 6, 4, 1, box=True, seed=4)
    upper = problem.upper.clone()
    upper[:, 1], upper[1, 4] = problem.lower[:, 1], problem.lower[1, 4]
    fixed = DenseQP(P=problem.P, q=problem.q, G=problem.G, h=problem.h + 3, lower=problem.lower, upper=upper)
    solved = InteriorPoint().solve(fixed)
    assert_matches_oracle(fixed, solved)
    assert torch.equal(solved.point[0][:, 1], problem.lower[:, 1])


def test_all_variables_fixed() -> None:
    value = torch.tensor([1.0, -2.0], dtype=torch.float64)
    solved = InteriorPoint().solve(DenseQP(P=torch.eye(2).double(), q=value, lower=value, upper=value))
    assert solved.status == Status.SOLVED
    assert torch.equal(solved.point[0], value)
    torch.testing.assert_close(solved.point[3], -2 * value)


def test_sparsemax_in_closed_form() -> None:
    """The projection on the simplex, with the sort of Martins and Astudillo, 2016; ties and weakly active ones too."""
    theta = torch.randn(20, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    theta[0] = 1.0
    theta[1] = torch.tensor([1.0, 0, 0, 0, 0, 0, 0])
    theta[2] = torch.tensor([0.5, 0.5, 0, 0, 0, 0, 0]) + 3
    ordered, count = theta.sort(-1, descending=True).values, torch.arange(1, 8)
    support = (1 + count * ordered > ordered.cumsum(-1)).sum(-1, keepdim=True)
    threshold = (ordered.cumsum(-1).gather(-1, support - 1) - 1) / support
    one = torch.ones(1, dtype=torch.float64)
    problem = DenseQP(P=torch.eye(7).double(), q=-theta, A=one.expand(1, 7), b=one, lower=torch.zeros(7).double())
    solved = InteriorPoint().solve(problem)
    assert (solved.status == Status.SOLVED).all()
    torch.testing.assert_close(solved.point[0], (theta - threshold).clamp_min(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("what", ["objective", "data", "rows", "variables"])
def test_badly_scaled_data(what: str, scale: float) -> None:
    problem = make((4,), 8, 6, 2, box=True, seed=6)
    expected = InteriorPoint().solve(problem).point[0]
    parts = dict(zip(("P", "q", "A", "b", "G", "h", "lower", "upper"), problem.tensors, strict=True))
    if what == "objective":
        parts["P"], parts["q"] = parts["P"] * scale, parts["q"] * scale
    if what == "data":
        parts["q"] = parts["q"] * scale
        for name in ("b", "h", "lower", "upper"):
            parts[name] = parts[name] * scale
        expected = expected * scale
    if what == "rows":
        weights = torch.logspace(0, np.log10(scale), 6, dtype=torch.float64)
        parts["G"], parts["h"] = parts["G"] * weights[:, None], parts["h"] * weights
    if what == "variables":
        weights = torch.logspace(0, np.log10(scale), 8, dtype=torch.float64)
        parts["P"], parts["q"] = parts["P"] / weights / weights[:, None], parts["q"] / weights
        parts["A"], parts["G"] = parts["A"] / weights, parts["G"] / weights
        parts["lower"], parts["upper"] = parts["lower"] * weights, parts["upper"] * weights
        expected = expected * weights
    solved = InteriorPoint().solve(DenseQP(**parts))
    assert (solved.status == Status.SOLVED).all()
    torch.testing.assert_close(solved.point[0] / expected, torch.ones_like(expected), rtol=0, atol=1e-7)


def test_degenerate_linear_program() -> None:
    """More active constraints than variables at the optimum, and one of them twice."""
    G = torch.tensor([[1.0, 1], [1, 0], [0, 1], [1, 1]], dtype=torch.float64)
    h = torch.tensor([2.0, 1, 1, 2], dtype=torch.float64)
    q = torch.tensor([[-1.0, -2], [-3, -1]], dtype=torch.float64)
    solved = InteriorPoint().solve(DenseQP(P=torch.zeros(2, 2).double(), q=q, G=G, h=h))
    assert (solved.status == Status.SOLVED).all()
    torch.testing.assert_close(solved.point[0], torch.ones(2, 2).double(), rtol=0, atol=1e-11)


def test_linear_program_with_a_face_of_solutions() -> None:
    box = torch.ones(3, dtype=torch.float64)
    problem = DenseQP(
        P=torch.zeros(3, 3).double(), q=torch.tensor([-1.0, -1, 0]).double(), A=box[None], b=box[:1], lower=0 * box
    )
    solved = InteriorPoint().solve(problem)
    assert solved.status == Status.SOLVED
    torch.testing.assert_close(solved.point[0] @ problem.q, torch.tensor(-1.0).double())


def spoil(problem: DenseQP, index: int, how: str) -> DenseQP:
    parts = {name: getattr(problem, name).clone() for name in ("P", "q", "A", "b", "G", "h", "lower", "upper")}
    if how == "nan":
        parts["G"][index, 0, 0] = torch.nan
    if how == "infinite":
        parts["q"][index, 0] = INF
    if how == "crossed":
        parts["lower"][index, 0], parts["upper"][index, 0] = 1, 0
    if how == "rows":
        parts["G"][index, 1], parts["h"][index, 1] = -parts["G"][index, 0], -parts["h"][index, 0] - 1
    if how == "equalities":
        parts["A"][index, 1], parts["b"][index, 1] = parts["A"][index, 0], parts["b"][index, 0] + 1
    if how == "outside":
        parts["b"][index] += 1e3
    if how in ("unbounded", "half"):
        parts["P"][index], parts["lower"][index], parts["upper"][index] = 0, -INF, INF
        parts["A"][index], parts["b"][index], parts["h"][index] = 0, 0, INF
    if how == "half":
        parts["lower"][index], parts["q"][index, 1:] = 0, 1
        parts["q"][index, 0] = -1
    if how == "concave":
        parts["P"][index, 0, 0] = -10
    return DenseQP(**parts)


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("nan", Status.NOT_FINITE),
        ("infinite", Status.NOT_FINITE),
        ("crossed", Status.INFEASIBLE),
        ("rows", Status.INFEASIBLE),
        ("equalities", Status.INFEASIBLE),
        ("outside", Status.INFEASIBLE),
        ("unbounded", Status.UNBOUNDED),
        ("half", Status.UNBOUNDED),
        ("concave", Status.MAX_ITERATIONS),
    ],
)
def test_a_failed_instance_is_named_and_leaves_its_neighbours_alone(how: str, status: Status) -> None:
    problem = make((6,), 6, 4, 2, box=True, seed=7)
    alone = InteriorPoint().solve(problem)
    solved = InteriorPoint().solve(spoil(problem, 2, how))
    others = [0, 1, 3, 4, 5]
    assert Status(int(solved.status[2])) is status
    assert (solved.status[others] == Status.SOLVED).all()
    for got, want in zip(solved.point, alone.point, strict=True):
        assert torch.equal(got[others], want[others])


def test_unbounded_along_a_flat_direction_of_the_curvature() -> None:
    P = torch.diag(torch.tensor([1.0, 0], dtype=torch.float64))
    q = torch.tensor([[1.0, 0], [1, -1], [1, 1]], dtype=torch.float64)
    solved = InteriorPoint().solve(DenseQP(P=P, q=q))
    assert solved.status.tolist() == [Status.SOLVED, Status.UNBOUNDED, Status.UNBOUNDED]
    torch.testing.assert_close(solved.point[0][0], torch.tensor([-1.0, 0]).double())


def test_batch_equals_loop() -> None:
    problem = make((2, 5), 7, 6, 2, box=True, seed=8)
    solved = InteriorPoint().solve(problem)
    assert solved.status.shape == solved.iterations.shape == solved.residual.shape == (2, 5)
    for index in np.ndindex(2, 5):
        alone = InteriorPoint().solve(instance(problem, index))
        for got, want in zip(solved.point, alone.point, strict=True):
            torch.testing.assert_close(got[index], want, rtol=0, atol=1e-12)


def test_shared_and_batched_data_broadcast() -> None:
    whole = make((3, 4), 6, 5, 1, box=True, seed=9)
    P, G, lower, upper = whole.P[0, 0], whole.G[0, 0], whole.lower[:1, :1] - 9, whole.upper[:1, :1] + 9
    mixed = DenseQP(
        P=P, q=whole.q[:, :1], A=whole.A[0], b=whole.b[0], G=G, h=whole.h[0].abs(), lower=lower, upper=upper
    )
    assert mixed.batch_shape == (3, 4)
    assert_matches_oracle(mixed, InteriorPoint().solve(mixed))


def test_empty_batch_and_no_variables() -> None:
    solved = InteriorPoint().solve(make((0,), 4, 3, 1, box=True))
    assert [tuple(t.shape) for t in solved.point] == [(0, 4), (0, 1), (0, 3), (0, 4)]
    assert solved.status.shape == (0,)
    nothing = InteriorPoint().solve(DenseQP(P=torch.zeros(0, 0), q=torch.zeros(2, 0)))
    assert nothing.point[0].shape == (2, 0)
    assert (nothing.status == Status.SOLVED).all()


def test_float32_in_float32_out() -> None:
    single = make((8,), 10, 8, 2, box=True, seed=10)
    single = single.with_tensors([t.float() for t in single.tensors])
    double = single.with_tensors([t.double() for t in single.tensors])
    solved, exact = InteriorPoint().solve(single), InteriorPoint().solve(double)
    assert (solved.status == Status.SOLVED).all()
    assert solved.residual.dtype == torch.float32
    for got, want in zip(solved.point, exact.point, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, want.float(), rtol=1e-6, atol=1e-6)


def test_float32_gram_matrix_of_low_rank() -> None:
    """A'A in float32 has eigenvalues below zero by its rounding: still a convex program."""
    A = torch.randn(4, 3, 12, generator=torch.Generator().manual_seed(0))
    problem = DenseQP(P=A.mT @ A, q=torch.randn(4, 12), lower=-torch.ones(12), upper=torch.ones(12))
    assert (InteriorPoint().solve(problem).status == Status.SOLVED).all()


def test_iteration_limit_is_reported() -> None:
    solved = InteriorPoint(max_iterations=1).solve(make((4,), 30, 60, 2, box=True, seed=11))
    unfinished = solved.residual > 1e-9
    assert unfinished.any()
    assert (solved.status[unfinished] != Status.SOLVED).all()
    assert (solved.iterations <= 1).all()


def test_every_status_is_reached_through_solve_and_raise_names_the_instance() -> None:
    problem = spoil(make((64,), 6, 4, 2, box=True, seed=7), 17, "rows")
    with pytest.raises(SolveError, match=r"1 of 64 instances were not solved\n  instance 17: infeasible"):
        implicit.solve(problem, InteriorPoint(), ActiveSetAdjoint())
    kept = implicit.solve(problem, InteriorPoint(), ActiveSetAdjoint(), on_failure="nan")
    assert kept.point[0][17].isnan().all()
    assert not kept.point[0][:17].isnan().any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"A": torch.zeros(1, 2)}, "A and b go together"),
        ({"q": torch.zeros(3)}, r"P has shape \(2, 2\); its last dimensions must be \(3, 3\)"),
        ({"lower": torch.zeros(2).double()}, "lower is torch.float64"),
    ],
)
def test_inconsistent_data_is_refused(change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DenseQP(**{"P": torch.eye(2), "q": torch.zeros(2), **change})
