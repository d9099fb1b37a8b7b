"""L-BFGS, gradient descent and Newton on local problems: against scipy and closed forms, and instance by instance."""

import numpy as np
import pytest
import scipy.optimize
import torch

from declarative.runtime.errors import InputError
from declarative.runtime.smooth import LocalProblem
from declarative.runtime.solvers.gradient_descent import GradientDescent
from declarative.runtime.solvers.lbfgs import LBFGS
from declarative.runtime.solvers.newton import Newton
from declarative.runtime.status import Status

F64 = torch.float64
SOLVERS = {
    "lbfgs": LBFGS(),
    "newton": Newton(),
    "newton_cg": Newton(dense_limit=0),
    "gradient_descent": GradientDescent(step_size=0.05, momentum=0.8, max_iterations=3000),
}


def each(*names):
    return pytest.mark.parametrize("solver", [SOLVERS[name] for name in names or SOLVERS], ids=names or list(SOLVERS))


def rosenbrock(x):
    return (100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(-1)


def logistic(batch, n, seed=0):
    """Regularised logistic regressions, one per instance: (problem, features, labels)."""
    random = torch.Generator().manual_seed(seed)
    A = torch.randn(batch, 3 * n, n, generator=random, dtype=F64)
    y = torch.randn(batch, 3 * n, generator=random, dtype=F64).sign()

    def f(w, A, y):
        margins = y * (A @ w[..., None])[..., 0]
        return torch.nn.functional.softplus(-margins).sum(-1) + w.square().sum(-1) / 2

    start = torch.randn(batch, n, generator=random, dtype=F64)
    return LocalProblem(f, start=start, tensors=(A, y), core_ranks=(2, 1)), A, y


@each()
def test_logistic_regression_against_scipy(solver):
    problem, A, y = logistic(4, 6)
    solved = solver.solve(problem)
    assert (solved.status == Status.SOLVED).all()
    for i in range(4):

        def f(w, i=i):
            margins = y[i].numpy() * (A[i].numpy() @ w)
            weights = -y[i].numpy() / (1 + np.exp(margins))
            return np.logaddexp(0, -margins).sum() + w @ w / 2, A[i].numpy().T @ weights + w

        expected = scipy.optimize.minimize(f, np.zeros(6), jac=True, method="BFGS", options={"gtol": 1e-10}).x
        assert np.abs(solved.point[0][i].numpy() - expected).max() <= 1e-8


@each("lbfgs", "newton", "newton_cg")
@pytest.mark.parametrize("n", [2, 12])
def test_the_curved_valley_of_rosenbrock(solver, n):
    random = torch.Generator().manual_seed(n)
    start = torch.randn(6, n, generator=random, dtype=F64)
    problem = LocalProblem(rosenbrock, start=start, tensors=(), core_ranks=())
    solved = solver.solve(problem)
    assert (solved.status == Status.SOLVED).all()
    x = solved.point[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(rosenbrock(x).sum(), x)
    assert slope.abs().max() <= 1e-6
    for i in range(6):  # a minimum, by an independent Hessian
        assert torch.linalg.eigvalsh(torch.autograd.functional.hessian(rosenbrock, x[i].detach())).min() > 0


@each("lbfgs", "newton", "newton_cg")
def test_himmelblau_from_everywhere_ends_in_one_of_its_four_minima(solver):
    def f(x):
        return (x[..., 0] ** 2 + x[..., 1] - 11) ** 2 + (x[..., 0] + x[..., 1] ** 2 - 7) ** 2

    grid = torch.linspace(-5, 5, 8, dtype=F64) + 0.03
    solved = solver.solve(LocalProblem(f, start=torch.cartesian_prod(grid, grid), tensors=(), core_ranks=()))
    assert (solved.status == Status.SOLVED).all()
    minima = torch.tensor(
        [[3, 2], [-2.805118086952745, 3.131312518250573], [-3.779310253377747, -3.283185991286170],
         [3.584428340330492, -1.848126526964404]], dtype=F64,
    )  # fmt: skip
    assert (solved.point[0][:, None] - minima).abs().amax(-1).amin(-1).max() <= 1e-8


@each("lbfgs", "newton", "newton_cg")
def test_a_start_of_negative_curvature_is_left_downwards_and_a_saddle_is_told(solver):
    def f(x):  # minima at (+-1, 0), a saddle at the origin
        return (x[..., 0] ** 2 - 1) ** 2 / 4 + x[..., 1] ** 2

    start = torch.tensor([[1e-3, 1.0], [-1e-3, 1.0], [0.0, 1.0], [0.0, 0.0]], dtype=F64)
    solved = solver.solve(LocalProblem(f, start=start, tensors=(), core_ranks=()))
    assert solved.status.tolist() == [Status.SOLVED, Status.SOLVED, Status.SADDLE, Status.SADDLE]
    assert torch.allclose(solved.point[0], torch.tensor([[1.0, 0], [-1, 0], [0, 0], [0, 0]], dtype=F64), atol=1e-9)


@each("lbfgs", "newton", "newton_cg", "gradient_descent")
def test_an_indefinite_quadratic_has_no_minimum_and_none_is_claimed(solver):
    def f(x):
        return x[..., 0] ** 2 - x[..., 1] ** 2

    start = torch.tensor([[1.0, 1e-2], [1.0, 0.0]], dtype=F64)
    status = solver.solve(LocalProblem(f, start=start, tensors=(), core_ranks=())).status
    assert status[0] in (Status.UNBOUNDED, Status.INACCURATE)
    assert status[1] == Status.SADDLE


@each()
def test_batch_mates_change_no_answer(solver):
    problem, *_ = logistic(5, 4)
    together = solver.solve(problem)
    for i in range(5):
        index = torch.tensor([i])
        alone = solver.solve(problem.take(index))
        assert alone.status == together.status[i]
        assert abs(alone.iterations[0] - together.iterations[i]) <= 1
        assert (alone.point[0][0] - together.point[0][i]).abs().max() <= 1e-10


@each()
def test_an_instance_that_is_not_finite_leaves_the_others_exact(solver):
    problem, A, y = logistic(5, 4)
    broken = A.clone()
    broken[2, 0, 0] = torch.nan
    clean = solver.solve(problem)
    spoilt = solver.solve(problem.with_tensors((broken, y, problem.start)))
    assert spoilt.status[2] == Status.NOT_FINITE
    others = torch.tensor([0, 1, 3, 4])
    assert torch.equal(spoilt.status[others], clean.status[others])
    assert (spoilt.point[0][others] - clean.point[0][others]).abs().max() <= 1e-14


@each()
def test_the_search_stays_where_logarithms_are_defined(solver):
    a = torch.linspace(0.5, 2, 4, dtype=F64)
    start = torch.tensor([[1.0] * 4, [-1.0] * 4, [8.0] * 4], dtype=F64)
    problem = LocalProblem(lambda x, a: (a * x - x.log()).sum(-1), start=start, tensors=(a,), core_ranks=(1,))
    solved = solver.solve(problem)
    assert solved.status.tolist() == [Status.SOLVED, Status.NOT_FINITE, Status.SOLVED]
    assert (solved.point[0][[0, 2]] - 1 / a).abs().max() <= 1e-8


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_lbfgs_in_many_variables(dtype):
    n = 3000
    scale = torch.linspace(1, 50, n, dtype=dtype)
    centre = torch.sin(torch.arange(n, dtype=dtype))

    def f(x, c):
        return (scale * (x - c).square()).sum(-1) / 2 + (x - c).pow(4).sum(-1) / 4

    start = torch.zeros(2, n, dtype=dtype)
    solved = LBFGS().solve(LocalProblem(f, start=start, tensors=(centre,), core_ranks=(1,)))
    assert (solved.status == Status.SOLVED).all()
    assert (solved.point[0] - centre).abs().max() <= (1e-8 if dtype == F64 else 2e-3)


def test_a_given_number_of_steps_is_the_recurrence_itself():
    problem, A, y = logistic(2, 3)
    solved = GradientDescent(step_size=0.01, momentum=0.5, steps=7).solve(problem)
    x, v = problem.start.clone(), torch.zeros(2, 3, dtype=F64)
    for _ in range(7):
        weights = torch.sigmoid(-y * (A @ x[..., None])[..., 0]) * y
        v = 0.5 * v - 0.01 * (x - (A.mT @ weights[..., None])[..., 0])
        x = x + v
    assert (solved.point[0] - x).abs().max() <= 1e-13
    assert (solved.iterations == 7).all()
    assert (solved.status == Status.SOLVED).all()
    assert (solved.residual > 1e-3).all()


def test_a_step_that_is_too_long_is_told():
    problem = LocalProblem(lambda x: x.square().sum(-1), start=torch.ones(1, 2, dtype=F64), tensors=(), core_ranks=())
    for solver in (GradientDescent(step_size=1.5), GradientDescent(step_size=1.5, steps=100)):
        assert solver.solve(problem).status == Status.INACCURATE


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"step_size": 0.0}, "step_size"), ({"momentum": 1.0}, "momentum"), ({"steps": -1}, "steps")],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(InputError, match=message):
        GradientDescent(**settings)


@each("lbfgs", "gradient_descent")
def test_constraints_are_refused_by_name(solver):
    problem = LocalProblem(
        lambda x: x.square().sum(-1),
        start=torch.ones(2, dtype=F64),
        tensors=(),
        core_ranks=(),
        inequalities=lambda x: -x,
    )
    with pytest.raises(InputError, match=r'without constraints.*"newton"'):
        solver.solve(problem)


@each()
def test_an_empty_batch(solver):
    problem, *_ = logistic(2, 3)
    solved = solver.solve(problem.take(torch.zeros(0, dtype=torch.int64)))
    assert solved.point[0].shape == (0, 3)
