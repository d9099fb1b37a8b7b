"""Constrained local problems are exact to rounding, weakly active inequalities too; against closed forms and scipy."""

import numpy as np
import pytest
import scipy.optimize
import torch

from declarative.runtime import implicit
from declarative.runtime.adjoints.krylov import KrylovAdjoint
from declarative.runtime.adjoints.smooth import DenseAdjoint
from declarative.runtime.smooth import LocalProblem
from declarative.runtime.solvers.newton import Newton
from declarative.runtime.status import Status

F64 = torch.float64
DIRECTION = torch.tensor([1.0, 2.0, -1.0], dtype=F64)


def away_from_the_ball(x, r):
    """The nearest y with |y| >= r, the other side of the ball's projection."""
    return LocalProblem(
        lambda y, x, r: (y - x).square().sum(-1),
        start=x.detach(),
        tensors=(x, r),
        core_ranks=(1, 0),
        inequalities=lambda y, x, r: (r**2 - y.square().sum(-1))[..., None],
    )


def points(dtype):
    """Random ones, and some at distances of 1e-1 to 1e-5 to either side of the sphere |x| = 1.5."""
    generator = torch.Generator().manual_seed(0)
    x = 1.5 * torch.randn(60, 3, generator=generator, dtype=F64)
    near = x[:10] / x[:10].norm(dim=-1, keepdim=True)
    gaps = torch.tensor([sign * 10.0**-k for k in range(1, 6) for sign in (1, -1)], dtype=F64)
    return torch.cat([x, near * (1.5 + gaps)[:, None]]).to(dtype)


def closed_form(x, r):
    norm = x.norm(dim=-1, keepdim=True)
    return torch.where(norm < r, r * x / norm, x)


@pytest.mark.parametrize("adjoint", [DenseAdjoint(), KrylovAdjoint("gmres")], ids=["dense", "gmres"])
@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=["float32", "float64"])
def test_solutions_and_gradients_are_exact_to_rounding(dtype, adjoint):
    x = points(dtype).requires_grad_()
    r = torch.tensor(1.5, dtype=dtype, requires_grad=True)
    solved = implicit.solve(away_from_the_ball(x, r), Newton(), adjoint)
    exact_x, exact_r = x.detach().double().requires_grad_(), r.detach().double().requires_grad_()
    exact = closed_form(exact_x, exact_r)
    rounding = torch.finfo(dtype).eps
    assert (solved.point[0].double() - exact).abs().max() < 10 * rounding
    found = torch.autograd.grad((solved.point[0] @ DIRECTION.to(dtype)).sum(), (x, r))
    expected = torch.autograd.grad((exact @ DIRECTION).sum(), (exact_x, exact_r))
    # A float32 point moves the sphere's normal by its rounding, and the products of GMRES end at 1e-5.
    accuracy = 100 * rounding if isinstance(adjoint, DenseAdjoint) else max(1e-4 * (dtype != F64), 1e-8)
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine.double() - theirs).abs().max() < accuracy * theirs.abs().max()


def test_second_derivatives_next_to_the_sphere():
    x = points(F64)[-10:].requires_grad_()
    r = torch.tensor(1.5, dtype=F64)

    def curvature(solution):
        (slope,) = torch.autograd.grad((solution @ DIRECTION).square().sum(), x, create_graph=True)
        return torch.autograd.grad((slope @ DIRECTION.flip(0)).sum(), x)[0]

    found = curvature(implicit.solve(away_from_the_ball(x, r), Newton(), DenseAdjoint()).point[0])
    torch.testing.assert_close(found, curvature(closed_form(x, r)), rtol=1e-9, atol=1e-9)


def test_a_tie_counts_as_inactive():
    x = torch.tensor([[1.5, 0.0, 0.0]], dtype=F64, requires_grad=True)
    solved = implicit.solve(away_from_the_ball(x, torch.tensor(1.5, dtype=F64)), Newton(), DenseAdjoint())
    (slope,) = torch.autograd.grad(solved.point[0].sum(), x)
    torch.testing.assert_close(slope, torch.ones_like(x))  # as if the sphere were not there


@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=["float32", "float64"])
def test_many_rows_of_which_few_are_active_against_scipy(dtype):
    """A convex objective over a polytope that is bent: each instance with active rows of its own."""
    generator = torch.Generator().manual_seed(3)
    G = torch.randn(12, 4, generator=generator, dtype=F64)
    c = 2 * torch.randn(6, 4, generator=generator, dtype=F64)

    def objective(y, c, G):
        return (y - c).square().sum(-1) + 0.1 * y.pow(4).sum(-1)

    def rows(y, c, G):
        return y @ G.mT + 0.1 * y.square().sum(-1, keepdim=True) - 1

    problem = LocalProblem(
        objective, start=torch.zeros(4, dtype=dtype), tensors=(c.to(dtype), G.to(dtype)), core_ranks=(1, 2),
        inequalities=rows,
    )  # fmt: skip
    solved = Newton().solve(problem)
    assert (solved.status == Status.SOLVED).all()
    y, _, lam = solved.point
    assert ((lam == 0) | (rows(y, c.to(dtype), G.to(dtype)).abs() < 20 * torch.finfo(dtype).eps)).all()
    for b in range(6):
        reference = scipy.optimize.minimize(
            lambda y, b=b: float(objective(torch.from_numpy(y), c[b], G)),
            np.zeros(4),
            constraints={"type": "ineq", "fun": lambda y, b=b: -rows(torch.from_numpy(y), c[b], G).numpy()},
            options={"ftol": 1e-15, "maxiter": 500},
        )
        assert np.abs(y[b].double().numpy() - reference.x).max() < 2e-6
