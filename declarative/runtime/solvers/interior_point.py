"""A batched dense interior-point solver for quadratic programs, exact to rounding at the end.

The road of a batch: one flat float64 batch; instances that no method can answer set aside (not finite, crossed bounds);
equilibration; predictor-corrector steps per instance; the active set read off and its linear system solved; and, for
what is left without an answer, a certificate that there is none. On a CPU or on an accelerator, in torch alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from declarative.runtime.convexity import is_convex
from declarative.runtime.problem import Problem, Solved, Solver
from declarative.runtime.quadratic import DenseQP, QPPoint
from declarative.runtime.solvers import certificates
from declarative.runtime.solvers.attempts import LOOSE, Attempts
from declarative.runtime.solvers.standard_form import Form, equilibrate, flatten, in_proportion
from declarative.runtime.status import Status

EXACT = 1e-9
"""Relative residual, before the answer is rounded, above which (and the data's own rounding) a certificate is asked
for."""
INACCURATE = 1e3
"""Multiple of the tolerance up to which a point is called inaccurate."""


@final
@dataclass(frozen=True)
class InteriorPoint(Solver):
    """Primal-dual interior point with polishing, for `DenseQP`.

    ``tolerance``: largest relative KKT residual (`DenseQP.relative_residual`) of a solved instance; None takes 1e-9 in
    float64 and 1e-5 in float32. ``max_iterations``: predictor-corrector steps. The arithmetic is float64 whatever the
    data's dtype, in which the answer comes. An instance whose P is not positive semidefinite is not a convex program:
    its status is ``max_iterations`` after no iteration, and `DenseQP.remark` says why.
    """

    tolerance: float | None = None
    max_iterations: int = 60

    def solve(self, problem: Problem) -> Solved:
        if not isinstance(problem, DenseQP):
            raise TypeError(f"InteriorPoint solves DenseQP, not {type(problem).__name__}")
        batch, dtype = problem.batch_shape, problem.q.dtype
        tol = self.tolerance if self.tolerance is not None else 1e-9 if dtype == torch.float64 else 1e-5
        form = flatten(problem)
        status = _hopeless(form, torch.finfo(dtype).eps)
        count = status.shape[0]
        sizes = (problem.n, problem.p, problem.m, problem.n)
        point = QPPoint(*(form.q.new_full((count, size), torch.nan) for size in sizes))
        iterations = torch.zeros(count, dtype=torch.int32, device=form.q.device)
        residual = form.q.new_full((count,), torch.inf)
        lanes = (status == Status.SOLVED).nonzero()[:, 0]
        if lanes.numel():
            answer, steps, error, status[lanes] = self._judged(form.take(lanes), dtype, tol)
            point = QPPoint(*(p.index_copy(0, lanes, a) for p, a in zip(point, answer, strict=True)))
            iterations, residual = iterations.index_copy(0, lanes, steps), residual.index_copy(0, lanes, error)
        return Solved(
            tuple(p.to(dtype).reshape(*batch, size) for p, size in zip(point, sizes, strict=True)),
            status.reshape(batch),
            iterations.reshape(batch),
            residual.to(dtype).reshape(batch),
        )

    def _judged(self, form: Form, dtype: torch.dtype, tol: float) -> tuple[QPPoint, Tensor, Tensor, Tensor]:
        """Point as ``dtype`` holds it, iterations (B,), residual (B,) and status (B,) of instances worth a step."""
        attempts = Attempts(dtype, self.max_iterations)
        found = attempts.answer(form)
        point = attempts.rounded(found.point)
        error = form.as_problem().relative_residual(point)
        doubtful = (found.residual > max(EXACT, attempts.eps)) | ~in_proportion(form, found.point)
        status = self._verdict(form, error, doubtful, tol, attempts.eps)
        lanes = ((status == Status.INACCURATE) | (status == Status.MAX_ITERATIONS)).nonzero()[:, 0]
        if lanes.numel() and attempts.eps > LOOSE:
            part = form.take(lanes)
            better = attempts.rounded(attempts.with_room(part, found.take(lanes)).point)
            point = QPPoint(*(p.index_copy(0, lanes, b) for p, b in zip(point, better, strict=True)))
            error = error.index_copy(0, lanes, part.as_problem().relative_residual(better))
            status[lanes] = _by_residual(error[lanes], tol)
        return point, found.iterations, error, status

    def _verdict(self, form: Form, error: Tensor, doubtful: Tensor, tol: float, eps: float) -> Tensor:
        """Status (B,) by the residual, and by a certificate where there is doubt or the residual is not small."""
        status = _by_residual(error, tol)
        left = (doubtful | (status != Status.SOLVED)).nonzero()[:, 0]
        if left.numel():
            scaled, _ = equilibrate(form.take(left))
            without = certificates.infeasible(scaled, self._engine, eps)
            endless = certificates.unbounded(scaled, self._engine) & ~without
            status[left[without]], status[left[endless]] = int(Status.INFEASIBLE), int(Status.UNBOUNDED)
        return status

    def _engine(self, form: Form) -> tuple[QPPoint, Tensor]:
        point = Attempts(torch.float64, self.max_iterations).answer(form).point
        return point, form.as_problem().relative_residual(point)


def _by_residual(error: Tensor, tol: float) -> Tensor:
    status = torch.full(error.shape, int(Status.MAX_ITERATIONS), dtype=torch.int8, device=error.device)
    status[error <= INACCURATE * tol] = int(Status.INACCURATE)
    status[error <= tol] = int(Status.SOLVED)
    return status


def _hopeless(form: Form, eps: float) -> Tensor:
    """Status (B,) of the instances that are not worth a step, `SOLVED` for the others."""
    finite = torch.ones_like(form.q.sum(-1), dtype=torch.bool)
    for tensor in (form.P, form.q, form.A, form.b, form.G):
        finite = finite & tensor.flatten(1).isfinite().all(-1)
    for tensor in (form.h, form.lower, form.upper):
        finite = finite & ~tensor.isnan().any(-1)
    crossed = (form.lower > form.upper).any(-1) | (form.h == -torch.inf).any(-1)
    crossed = crossed | (form.lower == torch.inf).any(-1) | (form.upper == -torch.inf).any(-1)
    crossed = crossed | _contradicts_itself(form.G, form.h, -1, eps) | _contradicts_itself(form.A, form.b, 1, eps)
    crossed = crossed | _contradicts_itself(form.A, form.b, -1, eps)
    status = torch.full(finite.shape, int(Status.SOLVED), dtype=torch.int8, device=finite.device)
    status[finite & ~is_convex(form.P, eps)] = int(Status.MAX_ITERATIONS)
    status[crossed] = int(Status.INFEASIBLE)
    status[~finite] = int(Status.NOT_FINITE)
    return status


def _contradicts_itself(rows: Tensor, side: Tensor, sign: int, eps: float) -> Tensor:
    """Where a row of zeros meets a right-hand side of this sign that is more than rounding of the others; (B,)."""
    finite = torch.where(side.isfinite(), side, 0)
    rounding = eps * (1 + finite.abs().amax(-1, keepdim=True)) if side.shape[-1] else side
    contradicts: Tensor = ((rows == 0).all(-1) & (sign * finite > rounding)).any(-1)
    return contradicts
