"""The compiled interior point for quadratic programs on the CPU, the instances of a batch in SIMD lanes.

It answers the instances that have a solution it can polish to rounding. Whatever it leaves, for being infeasible,
unbounded, degenerate beyond its means or no convex program, goes to `InteriorPoint`, instance by instance: statuses and
certificates are that solver's, and so is everything on other devices and under a compiler. Without inequalities there
is one linear system to solve, and `Direct` stands in the place of `InteriorPoint`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from declarative.runtime.native import library
from declarative.runtime.native.quadratic import data_of, operands
from declarative.runtime.problem import Point, Problem, Solved, Solver
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.solvers.direct import Direct
from declarative.runtime.solvers.interior_point import InteriorPoint


@final
@dataclass(frozen=True)
class NativeInteriorPoint(Solver):
    """Primal-dual interior point in compiled kernels, for `DenseQP`; settings as for `InteriorPoint`.

    Float32 data is solved in float32 with residuals summed in float64, and what that leaves over in float64. It runs on
    as many threads as ``torch.get_num_threads()`` says.
    """

    tolerance: float | None = None
    max_iterations: int = 60

    def solve(self, problem: Problem) -> Solved:
        if not isinstance(problem, DenseQP):
            raise TypeError(f"NativeInteriorPoint solves DenseQP, not {type(problem).__name__}")
        data = operands(problem)
        if data is None or _is_factored_once(problem):
            return self._reference(problem).solve(problem)
        q, batch = problem.q, data.batch
        sizes = (problem.n, problem.p, problem.m, problem.n)
        point = tuple(q.new_empty((*batch, size)) for size in sizes)
        status = torch.empty(batch, dtype=torch.int8)
        iterations = torch.empty(batch, dtype=torch.int32)
        residual = q.new_empty(batch)
        left = False
        if data.instances:
            room = [field for part, size in zip(point, sizes, strict=True) for field in (part.data_ptr(), size)]
            outputs = [status.data_ptr(), 1, iterations.data_ptr(), 1, residual.data_ptr(), 1]
            left = library.call("solve", (*data.fields, torch.get_num_threads(), self.max_iterations, *room, *outputs))
        solved = Solved(point, status, iterations, residual, complete=True)
        if self.tolerance is not None:
            coarse = status | (residual > self.tolerance)
            return _completed(solved, problem, coarse, self._reference(problem)) if bool(coarse.any()) else solved
        return _completed(solved, problem, status, self._reference(problem)) if left else solved

    def _reference(self, problem: DenseQP) -> Solver:
        kind = Direct if Direct.serves(problem) else InteriorPoint
        return kind(self.tolerance, self.max_iterations)


def _is_factored_once(problem: DenseQP) -> bool:
    """Whether all instances have one large linear system, which `Direct` factors once; where that pays, as measured."""
    shared = problem.P.dim() == 2 and (problem.A is None or problem.A.dim() == 2)
    large = problem.n + problem.p > 128 and problem.batch_shape.numel() >= 16
    return shared and large and Direct.serves(problem)


def _completed(solved: Solved, problem: DenseQP, left: Tensor, reference: Solver) -> Solved:
    """The solution with the instances where ``left`` (*batch) is not zero from another solver."""
    lanes, batch = left.flatten().nonzero()[:, 0], problem.batch_shape
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
