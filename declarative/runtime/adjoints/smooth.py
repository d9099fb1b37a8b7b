"""Adjoint systems of smooth problems: (dF/dw)' u = cotangent, by a factorisation, or by products alone.

Local problem with w = (x, nu, lambda), W the Hessian of its Lagrangian, Jh and Jg the Jacobians of its constraints:

              [ W               Jh'   Jg'     ]
    dF/dw  =  [ Jh              0     0       ]
              [ diag(lambda)Jg  0     diag(g) ]

Without inequalities it is symmetric. A root problem has its Jacobian. The matrix is a differentiable function of the
data and the point, and so is the solution of the system; derivatives of every order follow. Where the matrix is
singular (a flat valley, a double root) the answer is the least-norm solution.

Beyond ``dense_limit`` variables, a problem without constraints is solved by MINRES with exact Hessian-vector
products, which takes indefinite Hessians too. That solve is differentiated like any other: by the adjoint of its own
system.

References: Fiacco, Introduction to Sensitivity and Stability Analysis in Nonlinear Programming, 1983, chapter 3; Paige
and Saunders, Solution of sparse indefinite systems of linear equations, 1975.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from declarative.runtime.adjoints.minres import hessian_solve
from declarative.runtime.linear_solve import linear_solve
from declarative.runtime.problem import Adjoint, Point, Problem
from declarative.runtime.smooth import LocalProblem, RootProblem


@dataclass(frozen=True)
class SmoothAdjoint(Adjoint):
    """Adjoint of `LocalProblem` and `RootProblem`; ``dense_limit`` is the number of variables up to which dF/dw is
    formed."""

    dense_limit: int = 512

    @property
    def differentiable(self) -> bool:
        return True

    def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
        if isinstance(problem, RootProblem):
            return (linear_solve(problem.jacobian(point[0]).mT, cotangent[0]),)
        if not isinstance(problem, LocalProblem):
            raise TypeError(f"SmoothAdjoint is for a LocalProblem or a RootProblem, found a {type(problem).__name__}")
        if problem.constrained:
            symmetric = point[2].shape[-1] == 0
            solution = linear_solve(problem.jacobian(point).mT, torch.cat(cotangent, -1), symmetric=symmetric)
            return torch.split(solution, [part.shape[-1] for part in point], dim=-1)
        x, *empty = point
        if problem.size <= self.dense_limit:
            return (linear_solve(problem.hessian(point), cotangent[0], symmetric=True), *empty)
        return (hessian_solve(problem, x, cotangent[0]), *empty)
