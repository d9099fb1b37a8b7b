"""Krylov methods against dense solves, and the adjoints that are built of them and of Neumann series."""

import warnings

import pytest
import torch

from declarative.runtime import implicit
from declarative.runtime.adjoints.krylov import KrylovAdjoint
from declarative.runtime.adjoints.krylov_methods import cg, gmres, minres
from declarative.runtime.adjoints.neumann import NeumannAdjoint
from declarative.runtime.adjoints.smooth import DenseAdjoint, SmoothAdjoint
from declarative.runtime.errors import AdjointWarning, InputError
from declarative.runtime.lanczos import extreme_eigenvalues
from declarative.runtime.smooth import LocalProblem, RootProblem
from declarative.runtime.solvers.newton import Newton
from declarative.runtime.solvers.root import DampedNewton

F64 = torch.float64


def matrices(kind, batch=3, n=40):
    random = torch.Generator().manual_seed(1)
    A = torch.randn(batch, n, n, generator=random, dtype=F64)
    if kind == "definite":
        return A @ A.mT / n + torch.eye(n, dtype=F64)
    if kind == "indefinite":
        return (A + A.mT) / 2 + 3 * torch.diag(torch.arange(n, dtype=F64) % 2 * 2 - 1)
    return A / n**0.5 + 2 * torch.eye(n, dtype=F64)


@pytest.mark.parametrize(
    ("method", "kind"),
    [(cg, "definite"), (minres, "definite"), (minres, "indefinite"), (gmres, "definite"), (gmres, "general")],
)
def test_against_a_dense_solve(method, kind):
    A = matrices(kind)
    right = torch.randn(3, 40, generator=torch.Generator().manual_seed(2), dtype=F64)
    right[1] = 0
    allowed = 1e-11 * torch.linalg.vector_norm(right, dim=-1)
    u, iterations = method(lambda v: (A @ v[..., None])[..., 0], right, allowed, 400)
    for i in range(3):
        assert (u[i] - torch.linalg.solve(A[i], right[i])).abs().max() <= 1e-8
    assert iterations[1] == 0
    assert iterations[0] <= 100


def test_conjugate_gradients_stop_at_negative_curvature():
    A = torch.diag(torch.tensor([2.0, -1.0], dtype=F64))
    u, _ = cg(lambda v: v @ A, torch.tensor([[0.1, 1.0]], dtype=F64), torch.full((1,), 1e-10, dtype=F64), 10)
    assert u.isfinite().all()
    assert (u == 0).all()


def test_the_ends_of_a_spectrum():
    A = matrices("indefinite", n=25)
    low, high = extreme_eigenvalues(lambda v: (A @ v[..., None])[..., 0], torch.zeros(3, 25, dtype=F64))
    values = torch.linalg.eigvalsh(A)
    assert (low - values[:, 0]).abs().max() <= 1e-10
    assert (high - values[:, -1]).abs().max() <= 1e-10


def quartic(n=6):
    random = torch.Generator().manual_seed(0)
    A = torch.randn(n, n, generator=random, dtype=F64)
    b = torch.randn(2, n, generator=random, dtype=F64)

    def minimiser(A, b, adjoint):
        def f(x, A, b):
            return (x**4).sum(-1) / 4 + ((A @ x[..., None])[..., 0] - b).square().sum(-1) + x.square().sum(-1)

        problem = LocalProblem(f, start=torch.zeros(n, dtype=F64), tensors=(A, b), core_ranks=(2, 1))
        return implicit.solve(problem, Newton(), adjoint).point[0]

    return minimiser, A, b


def recurrent(n=6):
    random = torch.Generator().manual_seed(0)
    W = torch.randn(n, n, generator=random, dtype=F64) * 0.6 / n**0.5
    b = torch.randn(2, n, generator=random, dtype=F64)

    def root(W, b, adjoint):
        problem = RootProblem(
            lambda z, W, b: z - torch.tanh((W @ z[..., None])[..., 0] + b),
            start=torch.zeros(n, dtype=F64),
            tensors=(W, b),
            core_ranks=(2, 1),
            fixed_point=True,
        )
        return implicit.solve(problem, DampedNewton(), adjoint).point[0]

    return root, W, b


@pytest.mark.parametrize(
    ("make", "adjoint"),
    [
        *((quartic, KrylovAdjoint(m)) for m in ("cg", "minres", "gmres")),
        (quartic, DenseAdjoint()),
        (recurrent, DenseAdjoint()),
        (recurrent, KrylovAdjoint("gmres")),
        (recurrent, SmoothAdjoint(dense_limit=0)),
    ],
    ids=lambda v: getattr(v, "method", getattr(v, "__name__", type(v).__name__)),
)
def test_derivatives_of_two_orders_against_finite_differences(make, adjoint):
    function, A, b = make(3)
    A.requires_grad_()
    b.requires_grad_()
    assert torch.autograd.gradcheck(lambda A, b: function(A, b, adjoint), (A, b), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda A, b: function(A, b, adjoint), (A, b), fast_mode=True)


def test_multipliers_too():
    def point(c, adjoint):
        problem = LocalProblem(
            lambda x, c: (x - c).square().sum(-1),
            start=torch.tensor([0.3, 0.6, 0.2], dtype=F64),
            tensors=(c,),
            core_ranks=(1,),
            equalities=lambda x, c: x.square().sum(-1, keepdim=True) - 1,
            inequalities=lambda x, c: x - 0.9,
        )
        return torch.cat(implicit.solve(problem, Newton(), adjoint).point, -1)

    c = torch.tensor([[1.0, 0.2, 0.4], [-0.3, 3.0, -1.0]], dtype=F64)
    expected, found = (
        torch.func.jacrev(lambda c, a=a: point(c, a))(c) for a in (DenseAdjoint(), KrylovAdjoint("gmres"))
    )
    assert expected.abs().max() > 0.1
    assert (expected - found).abs().max() <= 1e-8
    with pytest.raises(InputError, match="inequality constraints"):
        torch.func.jacrev(lambda c: point(c, KrylovAdjoint("minres")))(c)


@pytest.mark.parametrize("make", [quartic, recurrent])
def test_a_neumann_series_converges_to_the_derivative_and_its_residual_says_how_far(make):
    function, A, b = make()
    b.requires_grad_()
    bar = torch.cos(torch.arange(12, dtype=F64)).reshape(2, 6)

    def gradient(adjoint):
        return torch.autograd.grad((function(A, b, adjoint) * bar).sum(), b)[0]

    exact = gradient(DenseAdjoint())
    errors = [float((gradient(NeumannAdjoint(k)) - exact).norm() / exact.norm()) for k in (0, 5, 40, 2000)]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] > 1e-4
    assert errors[-1] <= 1e-9


def test_the_terms_of_a_fixed_point_are_powers_of_its_jacobian():
    function, W, b = recurrent()
    z = function(W, b, DenseAdjoint())
    J = (1 - z**2)[..., None] * W
    bar = torch.cos(torch.arange(12, dtype=F64)).reshape(2, 6)
    b = b.requires_grad_()
    (found,) = torch.autograd.grad((function(W, b, NeumannAdjoint(2)) * bar).sum(), b)
    u = bar + (J.mT @ bar[..., None])[..., 0] + (J.mT @ J.mT @ bar[..., None])[..., 0]
    assert (found - (1 - z**2) * u).abs().max() <= 1e-12


def test_an_adjoint_that_is_not_solved_warns():
    function, A, b = quartic()
    b.requires_grad_()
    with pytest.warns(AdjointWarning, match=r'not solved \(cg: .*layer.adjoint = "dense"'):
        function(A, b, KrylovAdjoint("cg", max_iterations=1)).sum().backward()
    with pytest.warns(AdjointWarning, match="grows"):
        function(A, b, NeumannAdjoint(50, step=1.0)).sum().backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(A, b, KrylovAdjoint("cg")).sum().backward()


def test_a_flat_valley_has_the_least_norm_derivative_by_products_too():
    theta = torch.tensor(2.0, dtype=F64, requires_grad=True)
    problem = LocalProblem(
        lambda x, t: (x.sum(-1) - t).square(), start=torch.zeros(2, dtype=F64), tensors=(theta,), core_ranks=(0,)
    )
    x = implicit.solve(problem, Newton(), KrylovAdjoint("minres")).point[0]
    (slope,) = torch.autograd.grad(x.sum(), theta)
    assert abs(slope - 1) <= 1e-9
    x = implicit.solve(problem, Newton(), KrylovAdjoint("minres")).point[0]
    with pytest.warns(AdjointWarning):  # x_0 alone is not determined
        torch.autograd.grad(x[0], theta)


@pytest.mark.parametrize(("kind", "settings"), [(KrylovAdjoint, {"method": "lu"}), (NeumannAdjoint, {"terms": -1})])
def test_settings_out_of_range(kind, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        kind(**settings)


def test_conditions_in_many_variables():
    n = 600
    curvature = torch.linspace(0.5, 4, n, dtype=F64)
    for sign in (1.0, -1.0):
        bent = torch.cat([curvature[:1] * sign, curvature[1:]])
        problem = LocalProblem(
            lambda x, b: (b * x.square()).sum(-1) / 2,
            start=torch.zeros(2, n, dtype=F64),
            tensors=(bent,),
            core_ranks=(1,),
        )
        conditions = problem.conditions((torch.zeros(2, n, dtype=F64), *[torch.zeros(2, 0, dtype=F64)] * 2))
        assert (conditions.second_order - 0.5 * sign).abs().max() <= 1e-2
        assert ((conditions.adjoint_condition - 8).abs().max() <= 0.2) == (sign > 0)
