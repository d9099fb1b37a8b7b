"""Stationary points of smooth problems: values, statuses, independence of the batch; against closed forms and scipy."""

import pytest
import scipy.optimize
import torch
from torch import nn

from declarative.runtime.errors import InputError
from declarative.runtime.externs import with_weights
from declarative.runtime.smooth import LocalProblem
from declarative.runtime.solvers.newton import Newton
from declarative.runtime.status import Status

F64 = torch.float64


def rosenbrock(x):
    return (100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(-1)


def plain(function, start, **constraints):
    return LocalProblem(function, start=start, tensors=(), core_ranks=(), **constraints)


class Savi(nn.Module):
    """Semi-amortised inference: a Gaussian posterior refined under a decoder, tied to its start by a proximal term."""

    def __init__(self, k, hidden, d, dtype=F64):
        super().__init__()
        self.k = k
        self.decode = nn.Sequential(nn.Linear(k, hidden), nn.Tanh(), nn.Linear(hidden, d)).to(dtype)

    def objective(self, v, x, mu0, logvar0, noise, gamma, rho):
        mu, logvar = v[..., : self.k], v[..., self.k :]
        nll = (x - self.decode(mu + (logvar / 2).exp() * noise)).square().sum(-1) / (2 * gamma)
        kl = (mu**2 + logvar.exp() - logvar - 1).sum(-1) / 2
        return nll + kl + rho / 2 * ((mu - mu0).square().sum(-1) + (logvar - logvar0).square().sum(-1))

    def problem(self, *tensors):
        function, weights = with_weights(self, self.objective, ("decode",))
        start = torch.cat(torch.broadcast_tensors(tensors[1], tensors[2]), -1)
        return LocalProblem(function, start=start, tensors=tensors, core_ranks=(1, 1, 1, 1, 0, 0), weights=weights)


def savi_data(batch, k, d, dtype=F64):
    torch.manual_seed(1)
    x, mu0, logvar0, noise = (torch.randn(batch, n, dtype=dtype) for n in (d, k, k, k))
    return x, mu0, logvar0, noise, torch.tensor(0.1, dtype=dtype), torch.tensor(0.1, dtype=dtype)


@pytest.mark.parametrize("dense_limit", [128, 0])
def test_a_convex_quadratic_against_its_closed_form(dense_limit):
    torch.manual_seed(0)
    L = torch.randn(3, 6, 6, dtype=F64)
    P, q = L @ L.mT + torch.eye(6, dtype=F64), torch.randn(3, 6, dtype=F64)
    problem = LocalProblem(
        lambda x, P, q: ((P @ x[..., None])[..., 0] * x).sum(-1) / 2 + (q * x).sum(-1),
        start=torch.zeros(6, dtype=F64),
        tensors=(P, q),
        core_ranks=(2, 1),
    )
    solved = Newton(dense_limit=dense_limit).solve(problem)
    assert (solved.status == Status.SOLVED).all()
    for i in range(3):
        assert torch.allclose(solved.point[0][i], -torch.linalg.solve(P[i], q[i]), atol=1e-11)


@pytest.mark.parametrize("dense_limit", [128, 0])
def test_a_looser_tolerance_ends_earlier(dense_limit):
    torch.manual_seed(0)
    problem = Savi(2, 6, 4).problem(*savi_data(8, 2, 4))
    precise, fine, rough = (
        Newton(tolerance, dense_limit=dense_limit).solve(problem) for tolerance in (None, 1e-6, 1e-2)
    )
    for solved, tolerance in ((precise, 1e-10), (fine, 1e-6), (rough, 1e-2)):
        assert (solved.status == Status.SOLVED).all()
        assert (solved.residual <= tolerance).all()
    assert (rough.iterations <= fine.iterations).all()
    assert (fine.iterations <= precise.iterations).all()
    assert rough.iterations.sum() < fine.iterations.sum()
    assert (rough.point[0] - precise.point[0]).abs().max() < 0.05


@pytest.mark.parametrize("dense_limit", [128, 0])
def test_rosenbrock_from_indefinite_starts(dense_limit):
    torch.manual_seed(0)
    start = torch.cat([torch.randn(20, 2, dtype=F64) * 2, torch.tensor([[0.0, 5.0]], dtype=F64)])
    second = torch.func.hessian(rosenbrock)(start[-1])
    assert torch.linalg.eigvalsh(second)[0] < 0
    solved = Newton(dense_limit=dense_limit).solve(plain(rosenbrock, start))
    assert (solved.status == Status.SOLVED).all()
    assert (solved.point[0] - 1).abs().max() <= 1e-9
    assert solved.residual.max() <= 1e-10


def test_many_variables_take_products_and_agree_with_scipy():
    torch.manual_seed(0)
    start = 1 + 0.1 * torch.randn(2, 200, dtype=F64)
    solved = Newton().solve(plain(rosenbrock, start))
    assert (solved.status == Status.SOLVED).all()
    for i in range(2):
        reference = scipy.optimize.minimize(
            scipy.optimize.rosen, start[i].numpy(), jac=scipy.optimize.rosen_der, method="BFGS", options={"gtol": 1e-8}
        )
        assert (solved.point[0][i] - torch.from_numpy(reference.x)).abs().max() <= 1e-6


def test_savi_of_256_instances_is_solved_to_rounding():
    layer = Savi(16, 128, 64)
    problem = layer.problem(*savi_data(256, 16, 64))
    solved = Newton().solve(problem)
    assert (solved.status == Status.SOLVED).all()
    gradient = problem.residual(solved.point)[0]
    assert gradient.abs().max() <= 1e-9
    assert (problem.objective(solved.point[0]) < problem.objective(problem.start)).all()


def test_savi_against_a_long_gradient_descent():
    layer = Savi(4, 10, 8)
    problem = layer.problem(*savi_data(5, 4, 8))
    solved = Newton().solve(problem)
    v = problem.start.clone()
    for _ in range(8000):
        v.requires_grad_()
        (slope,) = torch.autograd.grad(problem.objective(v).sum(), v)
        v = (v - 0.01 * slope).detach()
    assert (v - solved.point[0]).abs().max() <= 1e-6


def test_float32_reaches_the_float64_solution():
    layer = Savi(4, 10, 8)
    data = savi_data(6, 4, 8)
    exact = Newton().solve(layer.problem(*data))
    single = Newton().solve(layer.float().problem(*(t.float() for t in data)))
    assert single.point[0].dtype == torch.float32
    assert (single.status == Status.SOLVED).all()
    assert (single.point[0] - exact.point[0]).abs().max() <= 2e-5


def test_the_composition_of_the_batch_changes_nothing():
    layer = Savi(4, 10, 8)
    data = savi_data(7, 4, 8)
    together = Newton().solve(layer.problem(*data))
    for i in range(7):
        alone = Newton().solve(layer.problem(*(t[i] if t.dim() else t for t in data)))
        assert alone.point[0].shape == (8,)
        assert (alone.point[0] - together.point[0][i]).abs().max() <= 1e-12
        assert alone.iterations == together.iterations[i]


def test_shared_and_batched_data_broadcast():
    layer = Savi(4, 10, 8)
    x, mu0, logvar0, noise, _, rho = savi_data(3, 4, 8)
    gamma = torch.tensor([[0.1], [0.5]], dtype=F64)
    solved = Newton().solve(layer.problem(x, mu0[0], logvar0[0], noise, gamma, rho))
    assert solved.point[0].shape == (2, 3, 8)
    for i in range(2):
        for j in range(3):
            one = Newton().solve(layer.problem(x[j], mu0[0], logvar0[0], noise[j], gamma[i, 0], rho))
            assert (one.point[0] - solved.point[0][i, j]).abs().max() <= 1e-12


def test_an_instance_that_is_not_finite_leaves_the_others_exact():
    layer = Savi(4, 10, 8)
    data = savi_data(4, 4, 8)
    clean = Newton().solve(layer.problem(*data))
    data[0][2, 3] = torch.nan
    solved = Newton().solve(layer.problem(*data))
    assert solved.status.tolist() == [Status.SOLVED, Status.SOLVED, Status.NOT_FINITE, Status.SOLVED]
    others = torch.tensor([0, 1, 3])
    assert (solved.point[0][others] - clean.point[0][others]).abs().max() <= 1e-12


def test_logarithms_are_kept_in_their_domain():
    a = torch.tensor([[0.1, 50.0], [3.0, 1e-3]], dtype=F64)
    problem = LocalProblem(
        lambda x, a: (x - a * x.log()).sum(-1), start=torch.full((2,), 5.0, dtype=F64), tensors=(a,), core_ranks=(1,)
    )
    solved = Newton().solve(problem)
    assert (solved.status == Status.SOLVED).all()
    assert (solved.point[0] / a - 1).abs().max() <= 1e-9
    outside = Newton().solve(plain(lambda x: (x - x.log()).sum(-1), torch.tensor([[1.0, -1.0], [2.0, 3.0]], dtype=F64)))
    assert outside.status.tolist() == [Status.NOT_FINITE, Status.SOLVED]


def test_saddles_minima_and_unbounded_problems_are_told_apart():
    def f(x, bend):
        return x[..., 0] ** 2 - x[..., 1] ** 2 + bend * x[..., 1] ** 4

    start = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.1]], dtype=F64)
    bend = torch.tensor([1.0, 1.0, 0.0], dtype=F64)
    solved = Newton().solve(LocalProblem(f, start=start, tensors=(bend,), core_ranks=(0,)))
    assert solved.status.tolist() == [Status.SADDLE, Status.SOLVED, Status.UNBOUNDED]
    expected = torch.tensor([[0.0, 0.0], [0.0, 0.5**0.5]], dtype=F64)
    assert (solved.point[0][:2] - expected).abs().max() <= 1e-10
    linear = Newton().solve(plain(lambda x: -x.sum(-1), torch.ones(2, 2, dtype=F64)))
    assert (linear.status == Status.UNBOUNDED).all()


def test_a_saddle_in_many_variables_is_noticed():
    signs = torch.ones(150, dtype=F64)
    signs[77] = -1
    start = torch.ones(150, dtype=F64)
    start[77] = 0
    solved = Newton().solve(plain(lambda x: (signs * x**2).sum(-1), start))
    assert solved.status == Status.SADDLE


def test_an_empty_batch():
    layer = Savi(4, 10, 8)
    solved = Newton().solve(layer.problem(*savi_data(0, 4, 8)))
    assert solved.point[0].shape == (0, 8)
    assert solved.status.shape == (0,)


def test_equalities_and_inequalities_against_scipy():
    def f(x, c):
        return ((x - c) ** 2).sum(-1) + 0.3 * (x[..., 0] * x[..., 1] * x[..., 2])

    def h(x, c):
        return (x**2).sum(-1, keepdim=True) - 3

    def g(x, c):
        return torch.stack([x[..., 0] - x[..., 1] ** 2, 0.2 - x[..., 2]], -1)

    torch.manual_seed(0)
    c = torch.randn(6, 3, dtype=F64)
    start = torch.ones(3, dtype=F64)
    problem = LocalProblem(f, start=start, tensors=(c,), core_ranks=(1,), equalities=h, inequalities=g)
    solved = Newton().solve(problem)
    assert (solved.status == Status.SOLVED).all()
    x, _, lam = solved.point
    assert (lam >= 0).all()
    assert max(part.abs().max() for part in problem.residual(solved.point)) <= 1e-9
    for i in range(6):
        reference = scipy.optimize.minimize(
            lambda y, i=i: float(f(torch.from_numpy(y), c[i])),
            x[i].numpy(),
            method="SLSQP",
            constraints=[
                {"type": "eq", "fun": lambda y, i=i: h(torch.from_numpy(y), c[i]).numpy()},
                {"type": "ineq", "fun": lambda y, i=i: -g(torch.from_numpy(y), c[i]).numpy()},
            ],
            options={"ftol": 1e-14},
        )
        assert abs(reference.fun - float(f(x[i], c[i]))) <= 1e-8
        assert (torch.from_numpy(reference.x) - x[i]).abs().max() <= 1e-5
    report = problem.conditions(solved.point)
    assert report.kkt_residual.max() <= 1e-9
    assert (report.licq_rank == report.licq_rows).all()
    assert (report.second_order > 0).all()


@pytest.mark.parametrize(("dtype", "accuracy"), [(F64, 1e-9), (torch.float32, 1e-4)])
def test_indefinite_objectives_end_in_constrained_minima(dtype, accuracy):
    torch.manual_seed(0)
    n = 8
    Q, c, A = (torch.randn(32, *shape, dtype=dtype) for shape in ((n, n), (n,), (5, n)))
    problem = LocalProblem(
        lambda x, Q, c, A: (x * (Q @ x[..., None])[..., 0]).sum(-1) + (c * x).sum(-1),
        start=torch.zeros(n, dtype=dtype),
        tensors=(Q, c, A),
        core_ranks=(2, 1, 2),
        inequalities=lambda x, Q, c, A: torch.cat([(A @ x[..., None])[..., 0] - 1, x - 2, -2 - x], -1),
    )
    solved = Newton().solve(problem)
    assert (solved.status == Status.SOLVED).all()
    assert torch.linalg.eigvalsh(Q + Q.mT).amin(-1).max() < 0
    x, _, lam = solved.point
    assert x.dtype == dtype
    assert (lam >= 0).all()
    assert problem.inequality(x).max() <= accuracy
    slope = (Q + Q.mT) @ x[..., None] + c[..., None] + A.mT @ lam[..., :5, None]
    slope = slope[..., 0] + lam[..., 5 : 5 + n] - lam[..., 5 + n :]
    assert (slope.abs().amax(-1) <= accuracy * lam.amax(-1).clamp_min(1)).all()
    assert (problem.conditions(solved.point).second_order > 0).all()


def test_a_known_constrained_problem():
    """Problem 71 of Hock and Schittkowski, Test Examples for Nonlinear Programming Codes, 1981."""
    problem = plain(
        lambda x: x[..., 0] * x[..., 3] * (x[..., 0] + x[..., 1] + x[..., 2]) + x[..., 2],
        torch.tensor([[1.0, 5, 5, 1], [2, 3, 3, 2]], dtype=F64),
        equalities=lambda x: (x**2).sum(-1, keepdim=True) - 40,
        inequalities=lambda x: torch.cat([25 - x.prod(-1, keepdim=True), 1 - x, x - 5], -1),
    )
    solved = Newton().solve(problem)
    expected = torch.tensor([1.0, 4.7429994, 3.8211503, 1.3794082], dtype=F64)
    assert (solved.status == Status.SOLVED).all()
    assert (solved.point[0] - expected).abs().max() <= 1e-6


def test_contradictory_constraints_are_infeasible_and_dependent_ones_are_not():
    def twice(x):
        row = x.sum(-1, keepdim=True) - 1
        return torch.cat([row, 2 * row], -1)

    start = torch.tensor([[3.0, -1.0], [0.5, 0.25]], dtype=F64)
    solved = Newton().solve(plain(lambda x: (x**2).sum(-1), start, equalities=twice))
    assert (solved.status == Status.SOLVED).all()
    assert (solved.point[0] - 0.5).abs().max() <= 1e-10
    report = plain(lambda x: (x**2).sum(-1), start, equalities=twice).conditions(solved.point)
    assert report.licq_rank.tolist() == [1, 1]
    assert report.licq_rows.tolist() == [2, 2]
    away = plain(lambda x: (x**2).sum(-1), start, equalities=lambda x: (x**2).sum(-1, keepdim=True) + 1)
    assert (Newton().solve(away).status == Status.INFEASIBLE).all()
    cornered = plain(
        lambda x: (x**2).sum(-1),
        torch.ones(3, dtype=F64),
        equalities=lambda x: (x**2).sum(-1, keepdim=True) - 1,
        inequalities=lambda x: x - 0.5,
    )
    assert Newton().solve(cornered).status == Status.INFEASIBLE


def test_a_weakly_active_inequality_is_told():
    problem = plain(
        lambda x: (x**2).sum(-1),
        torch.ones(2, dtype=F64),
        inequalities=lambda x: torch.stack([-x[..., 0], x[..., 1] - 9], -1),
    )
    solved = Newton().solve(problem)
    report = problem.conditions(solved.point)
    assert report.complementarity <= 1e-4
    assert report.complementarity_row == 0


@pytest.mark.parametrize(
    ("part", "what"),
    [(nn.Dropout(0.5), "Dropout"), (nn.BatchNorm1d(4), "statistics of the batch"), (nn.RReLU(), "random")],
)
def test_externs_without_a_stationary_point_are_refused(part, what):
    layer = nn.Module()
    layer.decode = nn.Sequential(nn.Linear(4, 4), part)

    def method(z):
        return layer.decode(z)

    with pytest.raises(InputError, match=what) as raised:
        with_weights(layer, method, ("decode",))
    assert "decode.1" in str(raised.value)
    assert "layer.decode.eval()" in str(raised.value)
    layer.decode.eval()
    _, weights = with_weights(layer, method, ("decode",))
    assert len(weights) == len(list(layer.decode.parameters()))
