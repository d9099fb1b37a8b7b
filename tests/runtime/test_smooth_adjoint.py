"""Derivatives of stationary points: against finite differences, closed forms, and two identities of the theory."""

import pytest
import torch
from torch import nn

from declarative.runtime import implicit
from declarative.runtime.adjoints.smooth import SmoothAdjoint
from declarative.runtime.errors import SolveError
from declarative.runtime.externs import with_weights
from declarative.runtime.smooth import LocalProblem
from declarative.runtime.solvers.newton import Newton
from declarative.runtime.status import Status

F64 = torch.float64


class Savi(nn.Module):
    """Semi-amortised inference with k latent and d observed variables; ``rho`` weighs the proximal term."""

    def __init__(self, k=4, hidden=10, d=8):
        super().__init__()
        self.k = k
        self.decode = nn.Sequential(nn.Linear(k, hidden), nn.Tanh(), nn.Linear(hidden, d)).to(F64)

    def objective(self, v, x, v0, noise, gamma, rho):
        mu, logvar = v[..., : self.k], v[..., self.k :]
        nll = (x - self.decode(mu + (logvar / 2).exp() * noise)).square().sum(-1) / (2 * gamma)
        kl = (mu**2 + logvar.exp() - logvar - 1).sum(-1) / 2
        return nll + kl + rho / 2 * (v - v0).square().sum(-1)

    def problem(self, x, v0, noise, gamma, rho, start=None):
        function, weights = with_weights(self, self.objective, ("decode",))
        return LocalProblem(
            function,
            start=v0 if start is None else start,
            tensors=(x, v0, noise, gamma, rho),
            core_ranks=(1, 1, 1, 0, 0),
            weights=weights,
        )


@pytest.fixture
def savi():
    torch.manual_seed(3)
    layer = Savi()
    x, v0, noise = (torch.randn(3, n, dtype=F64) for n in (8, 8, 4))
    gamma, rho = torch.tensor(0.3, dtype=F64), torch.tensor(0.5, dtype=F64)
    return layer, [t.requires_grad_() for t in (x, v0, noise, gamma, rho)]


def solve(problem, adjoint=None, on_failure="raise", solver=None):
    return implicit.solve(problem, solver or Newton(), adjoint or SmoothAdjoint(), on_failure)


def central_difference(function, tensor, direction, step=1e-5):
    """Derivative of ``function()`` along a direction of one of the tensors that it reads."""
    with torch.no_grad():
        kept = tensor.clone()
        tensor += step * direction
        above = function()
        tensor.copy_(kept - step * direction)
        below = function()
        tensor.copy_(kept)
    return (above - below) / (2 * step)


@pytest.mark.parametrize("dense_limit", [512, 0])
def test_gradients_to_weights_and_data_are_those_of_finite_differences(savi, dense_limit):
    layer, tensors = savi
    target = torch.randn(3, 8, dtype=F64)

    def loss():
        v = solve(layer.problem(*tensors), SmoothAdjoint(dense_limit)).point[0]
        return (v * target).sum() + (v**3).sum()

    wanted = (*tensors, *layer.decode.parameters())
    gradients = torch.autograd.grad(loss(), wanted)
    for tensor, gradient in zip(wanted, gradients, strict=True):
        assert gradient.shape == tensor.shape
        for _ in range(2):
            direction = torch.randn_like(tensor)
            expected = central_difference(loss, tensor, direction)
            assert abs((gradient * direction).sum() - expected) <= 1e-6 * (1 + abs(expected))


def test_the_start_has_no_gradient_without_the_proximal_term(savi):
    layer, (x, v0, noise, gamma, _) = savi
    start = torch.randn(3, 8, dtype=F64, requires_grad=True)
    solved = solve(layer.problem(x, v0, noise, gamma, torch.zeros((), dtype=F64), start=start))
    to_start, to_centre, to_x = torch.autograd.grad(solved.point[0].sum(), (start, v0, x))
    assert to_start.abs().max() <= 1e-8
    assert to_centre.abs().max() <= 1e-8
    assert to_x.abs().max() > 1e-3


def test_the_proximal_term_carries_the_gradient_to_its_centre(savi):
    layer, (x, v0, noise, gamma, rho) = savi
    problem = layer.problem(x, v0, noise, gamma, rho)
    solved = solve(problem)
    (to_centre,) = torch.autograd.grad(solved.point[0].sum(), v0)
    hessian = problem.hessian(solved.point).detach()
    expected = torch.linalg.solve(hessian, rho.detach() * torch.ones(3, 8, 1, dtype=F64))[..., 0]
    assert (to_centre - expected).abs().max() <= 1e-9


def test_the_envelope_theorem(savi):
    layer, tensors = savi
    problem = layer.problem(*tensors)
    v = solve(problem).point[0]
    wanted = (*tensors, *layer.decode.parameters())
    through = torch.autograd.grad(problem.objective(v).sum(), wanted, retain_graph=True)
    fixed = torch.autograd.grad(problem.objective(v.detach()).sum(), wanted)
    for left, right in zip(through, fixed, strict=True):
        assert (left - right).abs().max() <= 1e-8


def test_shared_data_receive_sums_over_the_batch(savi):
    layer, (x, v0, noise, gamma, rho) = savi
    wanted = (gamma, rho, *layer.decode.parameters())
    together = torch.autograd.grad(solve(layer.problem(x, v0, noise, gamma, rho)).point[0].sum(), wanted)
    each = [
        torch.autograd.grad(solve(layer.problem(x[i], v0[i], noise[i], gamma, rho)).point[0].sum(), wanted)
        for i in range(3)
    ]
    for whole, *parts in zip(together, *each, strict=True):
        assert (whole - sum(parts)).abs().max() <= 1e-9 * (1 + whole.abs().max())


@pytest.mark.parametrize("dense_limit", [512, 0])
def test_every_order(dense_limit):
    torch.manual_seed(0)
    A = torch.randn(3, 3, dtype=F64, requires_grad=True)
    b = torch.randn(2, 3, dtype=F64, requires_grad=True)

    def minimiser(A, b):
        def f(x, A, b):
            return (x**4).sum(-1) / 4 + ((A @ x[..., None])[..., 0] - b).square().sum(-1) + x.square().sum(-1)

        problem = LocalProblem(f, start=torch.zeros(3, dtype=F64), tensors=(A, b), core_ranks=(2, 1))
        return solve(problem, SmoothAdjoint(dense_limit)).point[0]

    assert torch.autograd.gradcheck(minimiser, (A, b))
    assert torch.autograd.gradgradcheck(minimiser, (A, b))


def constrained(c, r):
    """The point of a sphere of squared radius r nearest to c, with x_i <= 0.9."""
    return LocalProblem(
        lambda x, c, r: (x - c).square().sum(-1),
        start=torch.tensor([0.3, 0.6, 0.2], dtype=F64),
        tensors=(c, r),
        core_ranks=(1, 0),
        equalities=lambda x, c, r: x.square().sum(-1, keepdim=True) - r[..., None],
        inequalities=lambda x, c, r: x - 0.9,
    )


def test_constraints_multipliers_and_every_order():
    c = torch.tensor([[1.0, 0.2, 0.4], [-0.3, 3.0, -1.0]], dtype=F64, requires_grad=True)
    r = torch.tensor(1.0, dtype=F64, requires_grad=True)
    solver = Newton(tolerance=1e-12)

    def point(c, r):
        return solve(constrained(c, r), solver=solver).point

    solved = solve(constrained(c, r))
    assert (solved.status == Status.SOLVED).all()
    assert (solved.point[2] > 1e-3).any()
    assert torch.autograd.gradcheck(point, (c, r), atol=1e-6)
    assert torch.autograd.gradgradcheck(lambda c, r: point(c, r)[0], (c, r), atol=1e-5, fast_mode=True)


def test_the_multiplier_is_the_derivative_of_the_value():
    c = torch.tensor([1.0, 0.2, 0.4], dtype=F64)
    r = torch.tensor(1.0, dtype=F64, requires_grad=True)
    problem = constrained(c, r)
    x, nu, _ = solve(problem).point
    (slope,) = torch.autograd.grad(problem.objective(x), r)
    assert abs(slope + nu[0]) <= 1e-8


def test_a_failed_instance_is_nan_and_spoils_no_gradient():
    def f(x, a, w):
        return (w * x - a * x.log()).sum(-1)

    a = torch.tensor([[2.0], [1.0], [3.0]], dtype=F64, requires_grad=True)
    w = torch.tensor([4.0], dtype=F64, requires_grad=True)
    start = torch.tensor([[1.0], [-1.0], [1.0]], dtype=F64)
    problem = LocalProblem(f, start=start, tensors=(a, w), core_ranks=(1, 1))
    with pytest.raises(SolveError, match="instance 1: not_finite"):
        solve(problem)
    solved = solve(problem, on_failure="nan")
    assert solved.point[0][1].isnan().all()
    to_a, to_w = torch.autograd.grad(solved.point[0][[0, 2]].sum() + 0 * solved.point[0][1].sum(), (a, w))
    assert torch.allclose(to_a, torch.tensor([[0.25], [0.0], [0.25]], dtype=F64), atol=1e-12)
    assert torch.allclose(to_w, torch.tensor([-5.0 / 16], dtype=F64), atol=1e-12)


def test_a_flat_valley_has_the_least_norm_derivative():
    theta = torch.tensor(2.0, dtype=F64, requires_grad=True)
    problem = LocalProblem(
        lambda x, t: (x.sum(-1) - t).square(), start=torch.zeros(2, dtype=F64), tensors=(theta,), core_ranks=(0,)
    )
    solved = solve(problem)
    assert abs(solved.point[0].sum() - 2) <= 1e-9
    (slope,) = torch.autograd.grad(solved.point[0][0], theta)
    assert abs(slope - 0.5) <= 1e-9
    report = problem.conditions(solved.point)
    assert report.second_order.abs() <= 1e-12
    assert report.adjoint_condition == torch.inf


def test_many_variables_and_an_indefinite_hessian_by_products():
    torch.manual_seed(0)
    signs = torch.where(torch.arange(40) % 3 == 0, -1.0, 1.0).to(F64) * torch.linspace(1, 3, 40, dtype=F64)
    c = torch.randn(2, 40, dtype=F64, requires_grad=True)
    problem = LocalProblem(
        lambda x, c: (signs * x.square()).sum(-1) / 2 + (c * x).sum(-1),
        start=(-c / signs).detach(),
        tensors=(c,),
        core_ranks=(1,),
    )
    solved = solve(problem, SmoothAdjoint(dense_limit=0))
    assert (solved.status == Status.SADDLE).all()
    bar = torch.randn(2, 40, dtype=F64)
    (gradient,) = torch.autograd.grad((solved.point[0] * bar).sum(), c)
    assert (gradient + bar / signs).abs().max() <= 1e-8


def test_function_transforms(savi):
    layer, tensors = savi
    x, v0, noise, gamma, rho = (t.detach() for t in tensors)

    def minimiser(x, v0, noise, gamma):
        return solve(layer.problem(x, v0, noise, gamma, rho)).point[0]

    whole = minimiser(x, v0, noise, gamma)
    mapped = torch.func.vmap(minimiser, in_dims=(0, 0, 0, None))(x, v0, noise, gamma)
    assert (mapped - whole).abs().max() <= 1e-11
    jacobian = torch.func.jacrev(minimiser, argnums=3)(x, v0, noise, gamma)
    step = 1e-5
    expected = (minimiser(x, v0, noise, gamma + step) - minimiser(x, v0, noise, gamma - step)) / (2 * step)
    assert (jacobian - expected).abs().max() <= 1e-6
    each = torch.func.vmap(torch.func.grad(lambda *t: minimiser(*t)[0], argnums=1), in_dims=(0, 0, 0, None))
    by_row = torch.func.jacrev(minimiser, argnums=1)(x, v0, noise, gamma)[:, 0]
    for i in range(3):
        assert (each(x, v0, noise, gamma)[i] - by_row[i, i]).abs().max() <= 1e-11


def test_an_ensemble_of_weights_is_mapped_over():
    def minimiser(w, c):
        problem = LocalProblem(
            lambda x, c, w: (x[..., None, :] @ w @ w.T @ x[..., None])[..., 0, 0] + (x - c).square().sum(-1),
            start=torch.zeros(2, dtype=F64),
            tensors=(c,),
            core_ranks=(1,),
            weights=(w,),
        )
        return solve(problem).point[0]

    torch.manual_seed(0)
    w, c = torch.randn(4, 2, 2, dtype=F64), torch.randn(3, 2, dtype=F64)
    together = torch.func.vmap(minimiser, in_dims=(0, None))(w, c)
    for i in range(4):
        expected = torch.linalg.solve(w[i] @ w[i].T + torch.eye(2, dtype=F64), c.T).T
        assert (together[i] - expected).abs().max() <= 1e-11
