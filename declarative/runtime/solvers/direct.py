"""Quadratic programs without inequalities: their KKT system is linear, and one solve of it is the answer.

    [ P  A' ] [ x  ]   [ -q ]
    [ A  0  ] [ nu ] = [  b ]

Where P is singular on the null space of A, x is the least-norm solution, and so are the multipliers of dependent rows.
An instance that the system has no solution for, or whose P is not positive semidefinite, is handed to the interior
point, which tells an infeasible program from an unbounded one.

Reference: Boyd and Vandenberghe, Convex Optimization, 2004, section 10.1.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from declarative.runtime.convexity import is_convex
from declarative.runtime.kkt_system import solve_active_system
from declarative.runtime.problem import Problem, Solved, Solver
from declarative.runtime.quadratic import ActiveSet, DenseQP, QPPoint
from declarative.runtime.solvers.interior_point import InteriorPoint
from declarative.runtime.solvers.standard_form import flatten
from declarative.runtime.status import Status


@final
@dataclass(frozen=True)
class Direct(Solver):
    """One linear solve, for a `DenseQP` that has neither inequalities nor bounds.

    ``tolerance``: largest relative KKT residual of a solved instance; None takes 1e-9 in float64 and 1e-5 in float32.
    ``max_iterations`` concerns the instances handed to the interior point.
    """

    tolerance: float | None = None
    max_iterations: int = 60

    @staticmethod
    def serves(problem: Problem) -> bool:
        """Whether the problem is of this kind."""
        return isinstance(problem, DenseQP) and all(t is None for t in (problem.G, problem.lower, problem.upper))

    def solve(self, problem: Problem) -> Solved:
        if not isinstance(problem, DenseQP) or not self.serves(problem):
            raise TypeError("Direct solves a DenseQP without inequalities and bounds")
        tolerance = self.tolerance
        if tolerance is None:
            tolerance = 1e-9 if problem.q.dtype == torch.float64 else 1e-5
        point = _kkt_point(problem)
        residual = problem.relative_residual(point)
        convex = is_convex(((problem.P + problem.P.mT) / 2).to(torch.float64), torch.finfo(problem.q.dtype).eps)
        left = ~((residual <= tolerance) & convex)
        status = torch.full_like(residual, int(Status.SOLVED)).to(torch.int8)
        solved = Solved(tuple(point), status, torch.zeros_like(residual).to(torch.int32), residual)
        return self._others(problem, solved, left) if bool(left.any()) else solved

    def _others(self, problem: DenseQP, solved: Solved, left: Tensor) -> Solved:
        """The answer with the instances of the mask ``left`` (*batch) judged by the interior point."""
        lanes = left.flatten().nonzero()[:, 0]
        again = InteriorPoint(self.tolerance, self.max_iterations).solve(flatten(problem).take(lanes).as_problem())

        def merged(all_of: Tensor, some: Tensor) -> Tensor:
            core = all_of.shape[left.dim() :]
            flat = all_of.reshape(left.numel(), *core)
            return flat.index_copy(0, lanes, some.to(flat.dtype).reshape(len(lanes), *core)).reshape(all_of.shape)

        parts = zip(solved.point, again.point, strict=True)
        return Solved(
            tuple(merged(old, new[..., : old.shape[-1]]) for old, new in parts),
            merged(solved.status, again.status),
            merged(solved.iterations, again.iterations),
            merged(solved.residual, again.residual),
        )


def _kkt_point(problem: DenseQP) -> QPPoint:
    batch = problem.batch_shape
    q = problem.q.expand(*batch, problem.n)
    b = q[..., :0] if problem.b is None else problem.b.expand(*batch, problem.p)
    nothing = torch.zeros_like(q, dtype=torch.bool)
    active = ActiveSet(nothing[..., :0], nothing, nothing)
    return solve_active_system(problem, active, QPPoint(-q, b, q[..., :0], torch.zeros_like(q)))
