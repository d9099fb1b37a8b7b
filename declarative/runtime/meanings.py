"""What the gradient of one instance is, in words: where a condition of the theorem fails, and at a vertex.

Reference: Fiacco, Introduction to Sensitivity and Stability Analysis in Nonlinear Programming, 1983, chapter 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from declarative.runtime.cone import ConeProgram
from declarative.runtime.problem import Problem
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.smooth import RootProblem
from declarative.runtime.status import Status


@dataclass(frozen=True)
class Verdict:
    """Which conditions of the theorem hold in one instance, and what its numbers were.

    ``remark``: what the problem remarks on a failure. ``weakest`` names the inequality of smallest margin. ``flat`` and
    ``saddle``: the second-order margin is zero, or negative. ``vertex``: the active rows leave no direction free;
    ``linear``: the objective has no quadratic part.
    """

    status: Status
    remark: str
    independent: bool
    strict: bool
    rank: int
    rows: int
    weakest: str
    second_order: float
    flat: bool
    saddle: bool
    vertex: bool
    linear: bool

    @property
    def holds(self) -> bool:
        return self.status.usable and self.independent and self.strict and not self.flat and not self.saddle


REFUSED = 'the call raises, or with on_failure = "nan" returns NaN with zero gradient'

FAILURES = {
    Status.INACCURATE: "the point is near a solution, and its gradient cannot be trusted",
    Status.INFEASIBLE: "no point satisfies the constraints",
    Status.UNBOUNDED: "the objective has no least value",
    Status.MAX_ITERATIONS: "the solver stopped before a solution",
    Status.NOT_FINITE: "an argument is NaN or infinite, or a function is at the start",
}
"""What a status says of an instance where the problem has no remark of its own."""


WEAK = "the gradient is an element of the generalised Jacobian, with the constraint counted as inactive"

APPROXIMATE = 1e-6, 1e-3
"""In float64 and float32: relative residual of the adjoint system above which a gradient is called approximate."""


def meanings(verdict: Verdict, problem: Problem, *, adjoint_residual: float = 0.0) -> tuple[str, ...]:
    """One sentence for each thing to know about the gradient of an instance; empty where all is well."""
    told = []
    if verdict.status in FAILURES:
        told.append(f"{verdict.status.label}: {verdict.remark or FAILURES[verdict.status]}; {REFUSED}")
    if not verdict.independent:
        told.append(f"LICQ fails: rank {verdict.rank} of {verdict.rows}; {_dependent(problem)}")
    if not verdict.strict:
        told.append(f"weakly active: {verdict.weakest}; {WEAK}")
    if verdict.saddle or verdict.status is Status.SADDLE:
        told.append(
            f"saddle: second-order margin {verdict.second_order:.2g}; the gradient is that of the stationary branch, "
            "which is not a minimum"
        )
    elif verdict.flat:
        told.append(
            "solution not unique: the objective is flat along the active constraints; the gradient is the least-norm "
            "solution of the adjoint system"
            + ("; `layer.smooth = 1e-2` makes it unique" if isinstance(problem, DenseQP | ConeProgram) else "")
        )
    elif verdict.holds and adjoint_residual > APPROXIMATE[problem.tensors[0].dtype == torch.float32]:
        told.append(
            f"approximate gradient: the adjoint system is left with a relative residual of {adjoint_residual:.1e}"
        )
    elif verdict.vertex and verdict.holds:
        told.append(_vertex(verdict.linear))
    return tuple(told)


def _dependent(problem: Problem) -> str:
    if isinstance(problem, RootProblem):
        return "the Jacobian of the equations is singular, and no differentiable branch passes through the root"
    return "the gradient of the variables is by the minimum-norm multiplier; the duals are not unique"


def _vertex(linear: bool) -> str:
    if linear:
        return (
            "piecewise constant in c: a vertex under a linear objective, where the gradient of the variables with "
            "respect to the cost is exactly zero; to smooth it, set `layer.smooth = 1e-2`, which adds "
            "1e-2/2 * sum_squares(x) to the objective, with a number of the size of the costs' differences"
        )
    return (
        "piecewise constant in the objective: the active constraints alone determine the variables, whose gradient "
        "with respect to the cost is zero"
    )
