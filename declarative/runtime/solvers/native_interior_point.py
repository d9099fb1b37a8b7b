"""The compiled interior point for quadratic programs on the CPU, the instances of a batch in SIMD lanes.

It answers the instances that have a solution it can polish to rounding. Whatever it leaves, for being infeasible,
unbounded, degenerate beyond its means or no convex program, goes to `InteriorPoint`, instance by instance: statuses and
certificates are that solver's, and so is everything on other devices and under a compiler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from declarative.runtime.native import library
from declarative.runtime.native.quadratic import data_of, operands, serves, vectors
from declarative.runtime.problem import Point, Problem, Solved, Solver
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.solvers.interior_point import InteriorPoint


@final
@dataclass(frozen=True)
class NativeInteriorPoint(Solver):
    """Primal-dual interior point in compiled kernels, for `DenseQP`; settings as for `InteriorPoint`.

    The arithmetic is float64 whatever the data's dtype. It runs on as many threads as ``torch.get_num_threads()`` says.
    """

    tolerance: float | None = None
    max_iterations: int = 60

    def solve(self, problem: Problem) -> Solved:
        if not isinstance(problem, DenseQP):
            raise TypeError(f"NativeInteriorPoint solves DenseQP, not {type(problem).__name__}")
        reference = InteriorPoint(self.tolerance, self.max_iterations)
        if not serves(problem):
            return reference.solve(problem)
        data = operands(problem)
        q, batch = problem.q, data.batch
        sizes = (problem.n, problem.p, problem.m, problem.n)
        point = tuple(q.new_empty((*batch, size)) for size in sizes)
        status = torch.empty(batch, dtype=torch.int8)
        iterations = torch.empty(batch, dtype=torch.int32)
        residual = q.new_empty(batch)
        if data.instances:
            outputs = [status.data_ptr(), 1, iterations.data_ptr(), 1, residual.data_ptr(), 1]
            settings = [torch.get_num_threads(), self.max_iterations]
            library.call("solve", [*data.fields, *settings, *vectors(point)[0], *outputs])
        solved = Solved(point, status, iterations, residual)
        left = status.flatten()
        if self.tolerance is not None:
            left = left | (residual.flatten() > self.tolerance)
        return _completed(solved, problem, left, reference) if bool(left.any()) else solved


def _completed(solved: Solved, problem: DenseQP, left: Tensor, reference: Solver) -> Solved:
    """The solution with the instances where ``left`` (B,) is not zero from another solver."""
    lanes, batch = left.nonzero()[:, 0], problem.batch_shape
    again = reference.solve(problem.with_tensors(data_of(problem, lanes)))

    def put(into: Tensor, tensor: Tensor) -> Tensor:
        core = into.shape[len(batch) :]
        return into.reshape(batch.numel(), *core).index_copy(0, lanes, tensor).reshape(into.shape)

    point: Point = tuple(put(p, a) for p, a in zip(solved.point, again.point, strict=True))
    return Solved(
        point,
        put(solved.status, again.status),
        put(solved.iterations, again.iterations),
        put(solved.residual, again.residual),
    )
