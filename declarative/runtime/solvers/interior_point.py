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

from declarative.runtime.problem import Problem, Solved, Solver
from declarative.runtime.quadratic import ActiveSet, DenseQP, QPPoint
from declarative.runtime.solvers import certificates
from declarative.runtime.solvers.polish import polish
from declarative.runtime.solvers.primal_dual import Iterate, as_point, iterate
from declarative.runtime.solvers.standard_form import Form, equilibrate, flatten, restore
from declarative.runtime.status import Status

STOPS = (1e-7, 1e-12)
"""Relative residuals on the scaled data at which the steps end and polishing begins; the next one is for the instances
whose active set was not yet to be told at the one before."""
LOOSE = 1e-11
"""Relative residual above which a polished point is tried again from closer by."""
INACCURATE = 1e3
"""Multiple of the tolerance up to which a point is called inaccurate."""


@final
@dataclass(frozen=True)
class InteriorPoint(Solver):
    """Primal-dual interior point with polishing, for `DenseQP`.

    ``tolerance``: largest relative KKT residual (`DenseQP.relative_residual`) of a solved instance; None takes 1e-9 in
    float64 and 1e-5 in float32. ``max_iterations``: predictor-corrector steps. The arithmetic is float64 whatever the
    data's dtype, in which the answer comes. An instance whose P is not positive semidefinite is not a convex program:
    its status is ``max_iterations`` after no iteration.
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
            answer, steps = self._answer(form.take(lanes))
            answer = QPPoint(*(t.to(dtype).to(torch.float64) for t in answer))
            error = form.take(lanes).as_problem().relative_residual(answer)
            point = QPPoint(*(p.index_copy(0, lanes, a) for p, a in zip(point, answer, strict=True)))
            iterations, residual = iterations.index_copy(0, lanes, steps), residual.index_copy(0, lanes, error)
            status = status.index_copy(0, lanes, self._verdict(form.take(lanes), error, tol))
        return Solved(
            tuple(p.to(dtype).reshape(*batch, size) for p, size in zip(point, sizes, strict=True)),
            status.reshape(batch),
            iterations.reshape(batch),
            residual.to(dtype).reshape(batch),
        )

    def _answer(self, form: Form) -> tuple[QPPoint, Tensor]:
        """The polished point of every instance, and its iterations (B,)."""
        point, iterations, residual = self._to(STOPS[0], form)
        for stop in STOPS[1:]:
            lanes = (residual > LOOSE).nonzero()[:, 0]
            if not lanes.numel():
                break
            again, steps, error = self._to(stop, form.take(lanes))
            better = error < residual[lanes]
            point = QPPoint(
                *(
                    old.index_copy(0, lanes, torch.where(better[:, None], new, old[lanes]))
                    for old, new in zip(point, again, strict=True)
                )
            )
            iterations = iterations.index_copy(0, lanes, steps)
            residual = residual.index_copy(0, lanes, torch.where(better, error, residual[lanes]))
        return point, iterations

    def _to(self, stop: float, form: Form) -> tuple[QPPoint, Tensor, Tensor]:
        """Point, iterations (B,) and residual (B,) of steps down to the scaled residual ``stop``, polished."""
        scaled, scales = equilibrate(form)
        ended = iterate(scaled, stop, self.max_iterations)
        point, residual = polish(form, restore(as_point(scaled, ended.iterate), scales), _guess(form, ended.iterate))
        return point, ended.iterations, residual

    def _verdict(self, form: Form, error: Tensor, tol: float) -> Tensor:
        """Status (B,) by the residual, and by a certificate where that is not small."""
        status = torch.full(error.shape, int(Status.MAX_ITERATIONS), dtype=torch.int8, device=error.device)
        status[error <= INACCURATE * tol] = int(Status.INACCURATE)
        status[error <= tol] = int(Status.SOLVED)
        left = (status != Status.SOLVED).nonzero()[:, 0]
        if left.numel():
            scaled, _ = equilibrate(form.take(left))
            without = certificates.infeasible(scaled, self._engine)
            endless = certificates.unbounded(scaled, self._engine) & ~without
            status[left[without]], status[left[endless]] = int(Status.INFEASIBLE), int(Status.UNBOUNDED)
        return status

    def _engine(self, form: Form) -> tuple[QPPoint, Tensor]:
        point, _ = self._answer(form)
        return point, form.as_problem().relative_residual(point)


def _hopeless(form: Form, eps: float) -> Tensor:
    """Status (B,) of the instances that are not worth a step, `SOLVED` for the others."""
    finite = torch.ones_like(form.q.sum(-1), dtype=torch.bool)
    for tensor in (form.P, form.q, form.A, form.b, form.G):
        finite = finite & tensor.flatten(1).isfinite().all(-1)
    for tensor in (form.h, form.lower, form.upper):
        finite = finite & ~tensor.isnan().any(-1)
    crossed = (form.lower > form.upper).any(-1) | (form.h == -torch.inf).any(-1)
    crossed = crossed | (form.lower == torch.inf).any(-1) | (form.upper == -torch.inf).any(-1)
    status = torch.full(finite.shape, int(Status.SOLVED), dtype=torch.int8, device=finite.device)
    status[finite & ~is_convex(form.P, eps)] = int(Status.MAX_ITERATIONS)
    status[crossed] = int(Status.INFEASIBLE)
    status[~finite] = int(Status.NOT_FINITE)
    return status


def is_convex(P: Tensor, eps: float) -> Tensor:
    """Whether P (*batch, n, n) is positive semidefinite up to the rounding its entries came with; (*batch)."""
    n = P.shape[-1]
    if n == 0:
        return torch.ones(P.shape[:-2], dtype=torch.bool, device=P.device)
    allowance = max(10 * n * eps, 1e-11) * P.diagonal(dim1=-2, dim2=-1).abs().amax(-1)
    shift = torch.where(allowance > 0, allowance, 1e-11 * (P.abs().amax((-2, -1)) == 0))
    _, info = torch.linalg.cholesky_ex(P + shift[..., None, None] * torch.eye(n, dtype=P.dtype, device=P.device))
    convex: Tensor = info == 0
    return convex


def _guess(form: Form, point: Iterate) -> ActiveSet:
    """The inequalities whose multiplier exceeds their slack on the scaled data."""
    m, n = form.h.shape[-1], form.q.shape[-1]
    finite = torch.cat([form.h, form.upper, form.lower], -1).isfinite()
    over = (point.dual > point.slack) & finite
    upper, lower = over[:, m : m + n], over[:, m + n :]
    stronger = point.dual[:, m : m + n] >= point.dual[:, m + n :]
    return ActiveSet(over[:, :m], lower & ~(upper & stronger), upper & ~(lower & ~stronger))
