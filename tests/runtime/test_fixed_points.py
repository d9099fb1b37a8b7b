"""Fixed points: a deep equilibrium layer by acceleration and by Newton, and what is no contraction."""

import pytest
import torch

from declarative.runtime.defaults import default_solver
from declarative.runtime.errors import InputError
from declarative.runtime.smooth import RootProblem
from declarative.runtime.solvers.anderson import Anderson
from declarative.runtime.solvers.fixed_point import FixedPoint
from declarative.runtime.solvers.root import DampedNewton
from declarative.runtime.status import Status

F64 = torch.float64


def equilibrium(n, batch, gain, seed=0, dtype=F64):
    """z = tanh(W z + b), with a symmetric W of spectral radius ``gain``."""
    random = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(n, n, generator=random, dtype=F64))[0]
    W = (Q * torch.linspace(-gain, gain, n, dtype=F64)) @ Q.mT
    b = torch.randn(batch, n, generator=random, dtype=F64) / 4

    def residual(z, W, b):
        return z - torch.tanh(z @ W.mT + b)

    data = W.to(dtype), b.to(dtype)
    problem = RootProblem(
        residual, start=torch.zeros(n, dtype=dtype), tensors=data, core_ranks=(2, 1), fixed_point=True
    )  # fmt: skip
    return problem, *data


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("memory", [0, 5])
def test_a_wide_equilibrium_is_that_of_newton(memory, dtype):
    problem, W, b = equilibrium(120, 3, 0.9, dtype=dtype)
    solved = Anderson(memory=memory).solve(problem)
    assert (solved.status == Status.SOLVED).all()
    expected = DampedNewton().solve(equilibrium(120, 3, 0.9)[0]).point[0]
    assert (solved.point[0] - expected).abs().max() <= (1e-8 if dtype == F64 else 1e-3)
    assert (solved.point[0] - torch.tanh(solved.point[0] @ W.mT + b)).abs().max() <= (1e-9 if dtype == F64 else 1e-4)


def test_acceleration_takes_fewer_steps_than_picard():
    problem, *_ = equilibrium(60, 4, 0.98)
    picard = Anderson(memory=0, max_iterations=5000).solve(problem)
    accelerated = Anderson(memory=8).solve(problem)
    assert (accelerated.status == Status.SOLVED).all()
    assert (3 * accelerated.iterations < picard.iterations).all()


def test_batch_mates_change_no_answer():
    problem, *_ = equilibrium(40, 6, 0.9)
    together = Anderson().solve(problem)
    for i in range(6):
        W, b, start = problem.tensors
        alone = Anderson().solve(problem.with_tensors((W, b[i : i + 1], start)))
        assert (alone.point[0][0] - together.point[0][i]).abs().max() <= 1e-9


def test_an_instance_that_is_not_finite_leaves_the_others_exact():
    problem, W, b = equilibrium(40, 4, 0.9)
    clean = Anderson().solve(problem)
    broken = b.clone()
    broken[1, 3] = torch.nan
    spoilt = Anderson().solve(problem.with_tensors((W, broken, problem.start)))
    assert spoilt.status.tolist() == [Status.SOLVED, Status.NOT_FINITE, Status.SOLVED, Status.SOLVED]
    others = torch.tensor([0, 2, 3])
    assert (spoilt.point[0][others] - clean.point[0][others]).abs().max() <= 1e-13


def repelling():
    """z = 3 - z^2 with the root (sqrt(13) - 1) / 2, where |g'| = 2.6, and two instances of a contraction."""
    c = torch.tensor([[3.0], [0.2], [0.1]], dtype=F64)
    problem = RootProblem(
        lambda z, c: z - (c - z**2), start=c / 3 + 0.1, tensors=(c,), core_ranks=(1,), fixed_point=True
    )
    return problem, ((1 + 4 * c).sqrt() - 1) / 2


def test_what_acceleration_leaves_is_left_to_newton():
    problem, expected = repelling()
    picard = Anderson(memory=0).solve(problem)
    assert picard.status[0] != Status.SOLVED
    assert (picard.status[1:] == Status.SOLVED).all()
    solved = FixedPoint(max_iterations=60).solve(problem)
    assert (solved.status == Status.SOLVED).all()
    assert (solved.point[0] - expected).abs().max() <= 1e-9


def test_a_logarithm_keeps_its_domain():
    a = torch.tensor([[1.5], [2.0]], dtype=F64)
    problem = RootProblem(
        lambda z, a: z - (a - z.log()),
        start=torch.full((1,), 8.0, dtype=F64),
        tensors=(a,),
        core_ranks=(1,),
        fixed_point=True,
    )
    solved = Anderson(mixing=0.5).solve(problem)
    assert (solved.status == Status.SOLVED).all()
    assert (solved.point[0] + solved.point[0].log() - a).abs().max() <= 1e-9


def test_the_size_chooses_and_what_is_no_fixed_point_is_refused():
    assert isinstance(default_solver(equilibrium(65, 1, 0.5)[0], None, None), FixedPoint)
    assert isinstance(default_solver(equilibrium(64, 1, 0.5)[0], None, None), DampedNewton)
    wide = RootProblem(lambda z: z**3 - 1, start=torch.zeros(80, dtype=F64), tensors=(), core_ranks=())
    assert isinstance(default_solver(wide, None, None), DampedNewton)
    with pytest.raises(InputError, match=r"z == g\(z\)"):
        Anderson().solve(wide)
    with pytest.raises(InputError, match="mixing"):
        Anderson(mixing=0.0)
