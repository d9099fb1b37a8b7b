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

from dataclasses import dataclass

import torch
from torch import Tensor

from declarative.runtime.linear_solve import linear_solve
from declarative.runtime.problem import Problem, Solved, Solver
from declarative.runtime.smooth import RootProblem, largest
from declarative.runtime.status import Status

HALVINGS = 40


@dataclass(frozen=True)
class DampedNewton(Solver):
    """Roots of `RootProblem`, from its start.

    ``tolerance``: on the largest entry of F, relative to max(1, largest entry of |J x|); by default 1e-10 in float64
    and 1e-5 in float32. Statuses: infeasible where the norm of F has a local minimum that is no root, inaccurate
    where the Jacobian at the root is singular or rounding ends the iteration early.
    """

    tolerance: float | None = None
    max_iterations: int = 100

    def solve(self, problem: Problem) -> Solved:
        if not isinstance(problem, RootProblem):
            raise TypeError(f"DampedNewton solves a RootProblem, found a {type(problem).__name__}")
        batch = problem.batch_shape
        with torch.no_grad():
            x, status, iterations, error = self._find(problem.flattened())
        return Solved(
            (x.reshape(*batch, x.shape[-1]),), status.reshape(batch), iterations.reshape(batch), error.reshape(batch)
        )

    def _find(self, problem: RootProblem) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = problem.start.clone()
        count = x.shape[0]
        eps = torch.finfo(x.dtype).eps
        tolerance = self.tolerance if self.tolerance is not None else 1e-10 if x.dtype == torch.float64 else 1e-5
        value, jacobian = problem.linearised(x)
        finite = value.isfinite().all(-1) & jacobian.isfinite().all(-1).all(-1)
        status = torch.where(finite, int(Status.MAX_ITERATIONS), int(Status.NOT_FINITE)).to(torch.int8)
        iterations = torch.zeros(count, dtype=torch.int32, device=x.device)
        error = torch.full((count,), torch.nan, dtype=x.dtype, device=x.device)
        index = finite.nonzero()[:, 0]
        for _ in range(self.max_iterations):
            if not index.numel():
                break
            here, at = problem.take(index), x[index]
            value, jacobian = here.linearised(at)
            step = linear_solve(jacobian, -value)
            error[index] = _relative(value, jacobian, at)
            small = error[index] <= tolerance
            done = small & (largest(step) <= eps**0.5 * largest(at).clamp_min(1))
            after, moved = _search(here, at, value, step)
            retry = (~moved & ~done).nonzero()[:, 0]
            if retry.numel():
                damped = _levenberg_marquardt(jacobian[retry], value[retry])
                after[retry], moved[retry] = _search(problem.take(index[retry]), at[retry], value[retry], damped)
            x[index] = after
            iterations[index] += 1
            now = torch.where(moved, int(Status.MAX_ITERATIONS), int(Status.INACCURATE))
            now = torch.where(done | (small & ~moved), int(Status.SOLVED), now)
            status[index] = now.to(torch.int8)
            index = index[now == Status.MAX_ITERATIONS]
        return x, self._finish(problem, x, status, error), iterations, error

    def _finish(self, problem: RootProblem, x: Tensor, status: Tensor, error: Tensor) -> Tensor:
        """Judge the ends: INACCURATE for a root that is not regular, INFEASIBLE for a stationary norm above zero.

        The norm of F is stationary where J'F is small beside F and J; the J of the start counts too, or a single
        equation, whose |J'F| is always |J||F|, could not be judged.
        """
        status = status.clone()
        ended = (status != Status.NOT_FINITE).nonzero()[:, 0]
        if not ended.numel():
            return status
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
        return status


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
