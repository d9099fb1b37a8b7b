"""Damped Newton iteration for batches of systems F(x) = 0, one trajectory per instance.

The step J p = -F is halved until the 2-norm of F falls by a fraction of the step's length, so an iteration from near
a branch stays with it. Where J is singular, or its step is refused, the Levenberg-Marquardt step of the
same system is tried: it is always a descent direction of the norm.

An instance is solved when F is small beside |J x| *and* the Newton step is small beside x; the second is what tells a
root of a regular system from a double root, at which F is small long before x is right. A root whose Jacobian is
singular there is reported as inaccurate: no differentiable branch goes through it.

References: Dennis and Schnabel, Numerical Methods for Unconstrained Optimization and Nonlinear Equations, 1996,
chapters 6 and 7; Deuflhard, Newton Methods for Nonlinear Problems, 2011, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from declarative.runtime.linear_solve import linear_solve
from declarative.runtime.problem import Problem
from declarative.runtime.smooth import RootProblem, SmoothProblem, largest
from declarative.runtime.solvers.iteration import Iterate, Iteration, default_tolerance, first_iterate
from declarative.runtime.status import Status

HALVINGS = 40


@dataclass(frozen=True)
class DampedNewton(Iteration):
    """Roots of `RootProblem`, from its start.

    ``tolerance``: on the largest entry of F, relative to max(1, largest entry of |J x|); by default 1e-10 in float64
    and 1e-5 in float32. Statuses: infeasible where the norm of F has a local minimum that is no root, inaccurate
    where the Jacobian at the root is singular or rounding ends the iteration early.
    """

    tolerance: float | None = None
    max_iterations: int = 100

    def refuse(self, problem: Problem) -> None:
        if not isinstance(problem, RootProblem):
            raise TypeError(f"DampedNewton solves a RootProblem, found a {type(problem).__name__}")

    def begin(self, problem: SmoothProblem) -> Iterate:
        assert isinstance(problem, RootProblem)
        x = problem.start.clone()
        value, jacobian = problem.linearised(x)
        return first_iterate(x, value.isfinite().all(-1) & jacobian.isfinite().all(-1).all(-1), ())

    def step(self, problem: SmoothProblem, now: Iterate) -> Iterate:
        assert isinstance(problem, RootProblem)
        tolerance = default_tolerance(now.x.dtype) if self.tolerance is None else self.tolerance
        value, jacobian = problem.linearised(now.x)
        change = linear_solve(jacobian, -value)
        error = _relative(value, jacobian, now.x).detach()
        small = error <= tolerance
        accuracy = torch.finfo(now.x.dtype).eps ** 0.5
        done = small & (largest(change) <= accuracy * largest(now.x).clamp_min(1))
        after, moved = _search(problem, now.x, value, change)
        retry = (~moved & ~done).nonzero()[:, 0]
        if retry.numel():
            damped = _levenberg_marquardt(jacobian[retry], value[retry])
            again, there = _search(problem.take(retry), now.x[retry], value[retry], damped)
            after, moved = after.index_copy(0, retry, again), moved.index_copy(0, retry, there)
        status = torch.where(moved, int(Status.MAX_ITERATIONS), int(Status.INACCURATE))
        status = torch.where(done | (small & ~moved), int(Status.SOLVED), status).to(torch.int8)
        return replace(now, x=after, status=status, error=error)

    def finish(self, problem: SmoothProblem, end: Iterate) -> Iterate:
        """Judge the ends: INACCURATE for a root that is not regular, INFEASIBLE for a stationary norm above zero.

        The norm of F is stationary where J'F is small beside F and J; the J of the start counts too, or a single
        equation, whose |J'F| is always |J||F|, could not be judged.
        """
        assert isinstance(problem, RootProblem)
        status, error, x = end.status.clone(), end.error.clone(), end.x
        ended = (status != Status.NOT_FINITE).nonzero()[:, 0]
        if not ended.numel():
            return end
        here, at = problem.take(ended), x[ended]
        value, jacobian = here.linearised(at)
        error[ended] = _relative(value, jacobian, at)
        solved = status[ended] == Status.SOLVED
        irregular = solved & ~here.is_regular(at)
        pull = torch.linalg.vector_norm((jacobian.mT @ value[..., None])[..., 0], dim=-1)
        steepest = torch.maximum(
            torch.linalg.matrix_norm(jacobian), torch.linalg.matrix_norm(here.jacobian(here.start))
        )
        stationary = pull <= 1e-3 * steepest * torch.linalg.vector_norm(value, dim=-1)
        judged = torch.where(irregular, int(Status.INACCURATE), status[ended])
        status[ended] = torch.where(~solved & stationary, int(Status.INFEASIBLE), judged).to(torch.int8)
        return replace(end, status=status, error=error)


def _relative(value: Tensor, jacobian: Tensor, x: Tensor) -> Tensor:
    """Largest entry of F relative to the size of its terms, of which |J x| is a measure; (B,)."""
    return largest(value) / largest((jacobian @ x[..., None])[..., 0]).clamp_min(1)


def _levenberg_marquardt(jacobian: Tensor, value: Tensor) -> Tensor:
    """-(J'J + d I)^-1 J'F, with d the size of F beside that of J."""
    square = jacobian.mT @ jacobian
    size = square.diagonal(dim1=-2, dim2=-1).amax(-1)
    damping = (size * 1e-3).clamp_min(torch.finfo(value.dtype).tiny ** 0.5)
    identity = torch.eye(value.shape[-1], dtype=value.dtype, device=value.device)
    return linear_solve(
        square + damping[:, None, None] * identity, -(jacobian.mT @ value[..., None])[..., 0], symmetric=True
    )


def _search(problem: RootProblem, x: Tensor, value: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """x after a step of acceptable length, and whether there was one; points outside the domain are not acceptable."""
    result = x.clone()
    moved = torch.zeros(x.shape[0], dtype=torch.bool, device=x.device)
    size = torch.linalg.vector_norm(value, dim=-1)
    rows = (step.isfinite().all(-1) & (step != 0).any(-1)).nonzero()[:, 0]
    alpha = 1.0
    for _ in range(HALVINGS):
        if not rows.numel():
            break
        trial = x[rows] + alpha * step[rows]
        (there,) = problem.take(rows).residual((trial,))
        norm = torch.linalg.vector_norm(there, dim=-1)
        taken = norm.isfinite() & (norm <= (1 - 1e-4 * alpha) * size[rows])
        result[rows[taken]] = trial[taken]
        moved[rows[taken]] = True
        rows = rows[~taken]
        alpha /= 2
    return result, moved
