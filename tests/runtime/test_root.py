"""Roots of smooth systems: the branch, the statuses and the derivative, against closed forms."""

import pytest
import torch

from declarative.runtime import implicit
from declarative.runtime.adjoints.smooth import SmoothAdjoint
from declarative.runtime.errors import SolveError
from declarative.runtime.smooth import RootProblem
from declarative.runtime.solvers.root import DampedNewton
from declarative.runtime.status import Status


def circle(x, y0):
    return RootProblem(lambda y, x: x[..., None] ** 2 + y**2 - 1, start=y0[..., None], tensors=(x,), core_ranks=(0,))


def solve(problem, on_failure="raise"):
    return implicit.solve(problem, DampedNewton(), SmoothAdjoint(), on_failure)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_both_branches_of_the_circle_and_their_slopes(dtype):
    x = torch.tensor([0.6, 0.6, -0.8, 0.0], dtype=dtype, requires_grad=True)
    side = torch.tensor([0.5, -0.5, 2.0, -3.0], dtype=dtype)
    y = solve(circle(x, side)).point[0][:, 0]
    expected = side.sign() * (1 - x.detach() ** 2).sqrt()
    accuracy = 1e-14 if dtype == torch.float64 else 1e-6
    assert y.dtype == dtype
    assert (y - expected).abs().max() <= accuracy
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert (slope + x.detach() / expected).abs().max() <= 10 * accuracy


def test_higher_derivatives_of_the_circle():
    def y(x):
        return solve(circle(x, x * 0 + 0.5)).point[0][..., 0]

    x = torch.tensor(0.6, dtype=torch.float64)
    first, second = torch.func.grad(y), torch.func.grad(torch.func.grad(y))
    assert abs(first(x) + 0.75) <= 1e-13
    assert abs(second(x) + 1 / 0.8**3) <= 1e-12
    third = torch.func.grad(second)(x)
    assert abs(third + 3 * 0.6 / 0.8**5) <= 1e-11


@pytest.mark.parametrize("start", [0.5, 1e-4, 1e-7, 0.0])
@pytest.mark.parametrize("x", [1.0, -1.0])
def test_a_double_root_is_inaccurate_and_its_conditions_say_why(x, start):
    problem = circle(torch.tensor(x, dtype=torch.float64), torch.tensor(start, dtype=torch.float64))
    solved = DampedNewton().solve(problem)
    assert solved.status == Status.INACCURATE
    conditions = problem.conditions(solved.point)
    assert conditions.adjoint_condition == torch.inf
    assert (conditions.licq_rank, conditions.licq_rows) == (0, 1)
    with pytest.raises(SolveError, match="inaccurate"):
        solve(problem)


def test_a_regular_root_close_to_the_double_one_is_solved():
    x = torch.tensor(1 - 1e-6, dtype=torch.float64, requires_grad=True)
    problem = circle(x, torch.tensor(0.5, dtype=torch.float64))
    solved = solve(problem)
    (slope,) = torch.autograd.grad(solved.point[0].sum(), x)
    expected = -(1 - 1e-6) / ((2e-6 - 1e-12) ** 0.5)
    assert abs(slope / expected - 1) <= 1e-9
    assert problem.conditions(solved.point).adjoint_condition == 1


def test_the_adjoint_of_a_singular_jacobian_is_of_least_norm():
    problem = circle(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))
    point = (torch.zeros(1, dtype=torch.float64),)
    (u,) = SmoothAdjoint().solve(problem, point, (torch.ones(1, dtype=torch.float64),))
    assert u == 0


def test_where_there_is_no_root_the_instance_alone_is_infeasible():
    x = torch.tensor([0.6, 1.5, 0.8], dtype=torch.float64, requires_grad=True)
    start = torch.ones(3, dtype=torch.float64)
    solved = solve(circle(x, start), "nan")
    assert solved.status.tolist() == [Status.SOLVED, Status.INFEASIBLE, Status.SOLVED]
    y = solved.point[0][:, 0]
    assert y.isnan().tolist() == [False, True, False]
    (slope,) = torch.autograd.grad(y[0] + y[2], x)
    assert torch.allclose(slope, torch.tensor([-0.75, 0.0, -0.8 / 0.6], dtype=torch.float64), atol=1e-12)


def test_a_coupled_system_against_finite_differences():
    torch.manual_seed(0)
    A = torch.eye(4, dtype=torch.float64) * 3 + torch.randn(4, 4, dtype=torch.float64)
    b = torch.randn(2, 4, dtype=torch.float64)

    def root(A, b):
        problem = RootProblem(
            lambda x, A, b: torch.tanh(x) + (A @ x[..., None])[..., 0] - b,
            start=torch.zeros(4, dtype=torch.float64),
            tensors=(A, b),
            core_ranks=(2, 1),
        )
        return solve(problem).point[0]

    x = root(A, b)
    assert (torch.tanh(x) + x @ A.mT - b).abs().max() <= 1e-12
    A.requires_grad_()
    b.requires_grad_()
    assert torch.autograd.gradcheck(root, (A, b))
    assert torch.autograd.gradgradcheck(root, (A, b), fast_mode=True)
    assert torch.allclose(torch.func.vmap(root, in_dims=(None, 0))(A, b), x)


def test_a_start_outside_the_domain_is_not_finite_and_a_trial_point_outside_is_backtracked():
    target = torch.tensor([-3.0, -3.0], dtype=torch.float64)
    start = torch.tensor([[5.0], [-1.0]], dtype=torch.float64)
    problem = RootProblem(lambda x, t: x.log() - t[..., None], start=start, tensors=(target,), core_ranks=(0,))
    solved = DampedNewton().solve(problem)
    assert solved.status.tolist() == [Status.SOLVED, Status.NOT_FINITE]
    assert abs(solved.point[0][0, 0] / torch.tensor(-3.0, dtype=torch.float64).exp() - 1) <= 1e-12


def test_an_empty_batch():
    empty = torch.zeros(0, dtype=torch.float64)
    solved = solve(circle(empty, empty))
    assert solved.point[0].shape == (0, 1)
    assert solved.status.shape == (0,)
