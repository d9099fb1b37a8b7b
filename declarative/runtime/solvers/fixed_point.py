"""Large fixed points: Anderson acceleration, and damped Newton for the instances that it leaves.

Accelerated iteration costs one evaluation a step, but needs something like a contraction; Newton forms the Jacobian and
does not. Both begin at the program's start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from declarative.runtime.implicit import usable
from declarative.runtime.problem import Problem, Solved, Solver
from declarative.runtime.smooth import RootProblem
from declarative.runtime.solvers.anderson import Anderson
from declarative.runtime.solvers.iteration import solved_of
from declarative.runtime.solvers.root import DampedNewton


@dataclass(frozen=True)
class FixedPoint(Solver):
    """Fixed points of a `RootProblem` of any size; ``tolerance`` is that of both methods."""

    tolerance: float | None = None
    max_iterations: int = 200

    @property
    def accelerated(self) -> Anderson:
        """The method of the first attempt."""
        return Anderson(self.tolerance, self.max_iterations)

    def solve(self, problem: Problem) -> Solved:
        self.accelerated.refuse(problem)
        assert isinstance(problem, RootProblem)
        with torch.no_grad():
            flat = problem.flattened()
            end = self.accelerated.run(flat)
            left = (~usable(end.status)).nonzero()[:, 0]
            if left.numel():
                again = DampedNewton(self.tolerance).run(flat.take(left))
                again = replace(again, iterations=again.iterations + end.iterations[left], memory=())
                end = replace(end, memory=()).put(left, again)
        return solved_of(problem, end)
