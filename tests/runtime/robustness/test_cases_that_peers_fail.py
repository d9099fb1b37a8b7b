"""Small programs on which solvers and layers are known to return NaN, a wrong answer or no answer at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from declarative.runtime import implicit
from declarative.runtime.adjoints.native_active_set import NativeActiveSetAdjoint
from declarative.runtime.errors import SolveError
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.solvers.interior_point import InteriorPoint
from declarative.runtime.solvers.native_interior_point import NativeInteriorPoint
from declarative.runtime.status import Status
from tests.runtime.robustness.families import FAMILIES

INF = float("inf")
SOLVERS = pytest.mark.parametrize("solver", [NativeInteriorPoint(), InteriorPoint()], ids=["native", "torch"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def program(dtype: torch.dtype = torch.float64, **data: object) -> DenseQP:
    return DenseQP(**{k: torch.tensor(v, dtype=dtype) for k, v in data.items()})


def x_of(problem: DenseQP, solver: object) -> Tensor:
    solved = solver.solve(problem)  # type: ignore[attr-defined]
    assert (solved.status == Status.SOLVED).all()
    return solved.point[0]


@SOLVERS
@DTYPES
def test_projection_of_a_feasible_point_is_the_point(solver: object, dtype: torch.dtype) -> None:
    """No inequality is active: every multiplier is zero, and some solvers divide by it."""
    problem = program(dtype, P=[[1, 0], [0, 1]], q=[-0.5, 0.25], G=[[1, 0], [0, 1], [-1, -1]], h=[1, 1, 1])
    torch.testing.assert_close(x_of(problem, solver), torch.tensor([0.5, -0.25], dtype=dtype))


@SOLVERS
@DTYPES
def test_nothing_to_minimise(solver: object, dtype: torch.dtype) -> None:
    """P = 0 and q = 0: any feasible point, and not NaN."""
    x = x_of(program(dtype, P=[[0, 0], [0, 0]], q=[0, 0], G=[[1, 1]], h=[-1], lower=[-3, -3], upper=[3, 3]), solver)
    assert float(x.sum()) <= -1 + 1e-6
    assert float(x.abs().max()) <= 3


@SOLVERS
def test_zero_cost_with_equalities(solver: object) -> None:
    problem = program(P=[[1, 0], [0, 1]], q=[0, 0], A=[[1, 1]], b=[1])
    torch.testing.assert_close(x_of(problem, solver), torch.full((2,), 0.5).double())


@SOLVERS
@DTYPES
def test_infinite_bounds_of_either_sign(solver: object, dtype: torch.dtype) -> None:
    problem = program(dtype, P=[[1, 0], [0, 1]], q=[1, -2], G=[[1, 1]], h=[INF], lower=[-INF, 0], upper=[INF, INF])
    torch.testing.assert_close(x_of(problem, solver), torch.tensor([-1.0, 2.0], dtype=dtype))


@SOLVERS
def test_an_infinite_bound_on_the_wrong_side_is_infeasible(solver: object) -> None:
    solved = solver.solve(program(P=[[1]], q=[0], lower=[INF]))  # type: ignore[attr-defined]
    assert solved.status == Status.INFEASIBLE


@SOLVERS
@DTYPES
@pytest.mark.parametrize("copies", [2, 7])
def test_the_same_row_many_times(solver: object, dtype: torch.dtype, copies: int) -> None:
    """x + y <= -1 and x - y = 0.2, each said again and again, in another unit too."""
    units = [1.0, 2.0, 0.1, 1.0, 3.0, 7.0, 0.3][:copies]
    problem = program(
        dtype,
        P=[[1, 0], [0, 1]],
        q=[0, 0],
        A=[[u, -u] for u in units],
        b=[0.2 * u for u in units],
        G=[[u, u] for u in units],
        h=[-u for u in units],
    )
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(
        x_of(problem, solver), torch.tensor([-0.4, -0.6], dtype=dtype), rtol=tolerance, atol=tolerance
    )


@SOLVERS
def test_without_inequalities_equalities_or_either(solver: object) -> None:
    P, q = [[2.0, 0.5], [0.5, 1.0]], [1.0, -1.0]
    alone = x_of(program(P=P, q=q), solver)
    torch.testing.assert_close(alone, -torch.linalg.solve(torch.tensor(P).double(), torch.tensor(q).double()))
    with_rows = x_of(program(P=P, q=q, A=[[1.0, 1.0]], b=[0.0]), solver)
    torch.testing.assert_close(with_rows, torch.tensor([-1.0, 1.0]).double())
    torch.testing.assert_close(x_of(program(P=P, q=q, G=[[0.0, 0.0]], h=[1.0]), solver), alone)


@SOLVERS
def test_a_row_of_zeros(solver: object) -> None:
    """0 <= 1 says nothing, and 0 <= -1 cannot be."""
    fine = program(P=[[1]], q=[-1], G=[[0], [1]], h=[1, 0.5], A=[[0]], b=[0])
    assert float(x_of(fine, solver)) == pytest.approx(0.5)
    broken = solver.solve(program(P=[[1]], q=[-1], G=[[0]], h=[-1]))  # type: ignore[attr-defined]
    assert broken.status == Status.INFEASIBLE


@SOLVERS
def test_softmax_sized_numbers(solver: object) -> None:
    """A simplex projection whose scores are millions apart, or equal to the last bit."""
    theta = torch.tensor([[1e6, 0, -1e6], [1 / 3, 1 / 3, 1 / 3], [1e-9, 0, -1e-9]], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    problem = DenseQP(P=torch.eye(3).double(), q=-theta, A=one.expand(1, 3), b=one, lower=torch.zeros(3).double())
    expected = torch.stack([torch.tensor([1.0, 0, 0]).double(), one.expand(3) / 3, one.expand(3) / 3 + theta[2]])
    torch.testing.assert_close(x_of(problem, solver), expected, rtol=0, atol=1e-9)


@SOLVERS
@pytest.mark.parametrize("seed", [3, 10, 20])
def test_far_out_on_a_ray_is_no_solution(solver: object, seed: int) -> None:
    """One variable rises as another falls, for a gain without end, while dependent rows hold the rest at multipliers as
    large as one likes: beside those, the residual is as small as one likes."""
    programs = FAMILIES["unbounded"](np.random.default_rng(seed), 40, 3, 1, 4)
    assert (solver.solve(programs.problem()).status == Status.UNBOUNDED).all()  # type: ignore[attr-defined]


@DTYPES
def test_gradients_are_finite_and_of_the_datas_dtype(dtype: torch.dtype) -> None:
    """At an inactive, an active and a weakly active bound."""
    q = torch.tensor([-0.5, -2.0, -1.0], dtype=dtype, requires_grad=True)
    problem = DenseQP(P=torch.eye(3, dtype=dtype), q=q, upper=torch.ones(3, dtype=dtype))
    x = implicit.solve(problem, NativeInteriorPoint(), NativeActiveSetAdjoint()).point[0]
    (gradient,) = torch.autograd.grad(x.sum(), q)
    assert gradient.dtype == x.dtype == dtype
    assert gradient[:2].tolist() == [-1, 0]
    assert float(gradient[2]) in (-1.0, 0.0)


@SOLVERS
def test_a_matrix_that_is_not_positive_semidefinite_is_named(solver: object) -> None:
    P = torch.stack([torch.eye(2), torch.tensor([[1.0, 0], [0, -0.5]])]).double()
    bound = torch.ones(2).double()
    problem = DenseQP(P=P, q=bound, lower=-bound, upper=bound)
    with pytest.raises(SolveError, match=r"instance 1: .*not convex.*eigenvalues go from -0\.5 to 1") as raised:
        implicit.solve(problem, solver, NativeActiveSetAdjoint())  # type: ignore[arg-type]
    assert "instance 0" not in str(raised.value)
    assert solver.solve(problem).status[0] == Status.SOLVED  # type: ignore[attr-defined]


@SOLVERS
def test_not_a_number_stays_in_its_instance(solver: object) -> None:
    q = torch.tensor([[0.0, 1.0], [float("nan"), 1.0], [2.0, 1.0]], dtype=torch.float64)
    solved = solver.solve(DenseQP(P=torch.eye(2).double(), q=q, lower=-torch.ones(2).double()))  # type: ignore[attr-defined]
    assert solved.status.tolist() == [Status.SOLVED, Status.NOT_FINITE, Status.SOLVED]
    torch.testing.assert_close(solved.point[0][[0, 2]], -torch.tensor([[0.0, 1.0], [1.0, 1.0]]).double())
