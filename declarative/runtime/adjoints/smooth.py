"""Adjoint systems of smooth problems: (dF/dw)' u = cotangent, by a factorisation, or by products alone.

Local problem with w = (x, nu, lambda), W the Hessian of its Lagrangian, Jh and Jg the Jacobians of its constraints:

              [ W         Jh'   Jg'         ]
    dF/dw  =  [ Jh        0     0           ]
              [ diag(a)Jg 0     I - diag(a) ]

where a is one for the active inequalities and zero for the others. Without inequalities it is symmetric. A root
problem has its Jacobian. The matrix is a differentiable function of the data and the point, and so is the solution of
the system; derivatives of every order follow. Where the matrix is singular (a flat valley, a double root) the answer
is the least-norm solution.

Reference: Fiacco, Introduction to Sensitivity and Stability Analysis in Nonlinear Programming, 1983, chapter 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from declarative.runtime.adjoints.krylov import KrylovAdjoint
from declarative.runtime.linear_solve import linear_solve
from declarative.runtime.problem import Adjoint, Point, Problem
from declarative.runtime.smooth import LocalProblem, RootProblem


@dataclass(frozen=True)
class DenseAdjoint(Adjoint):
    """Adjoint of `LocalProblem` and `RootProblem` by a factorisation of dF/dw: LDL' where it is symmetric, else LU."""

    @property
    def differentiable(self) -> bool:
        return True

    def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
        if isinstance(problem, RootProblem):
            return (linear_solve(problem.jacobian(point[0]).mT, cotangent[0]),)
        if not isinstance(problem, LocalProblem):
            raise TypeError(f"DenseAdjoint is for a LocalProblem or a RootProblem, found a {type(problem).__name__}")
        if not problem.constrained:
            return (linear_solve(problem.hessian(point), cotangent[0], symmetric=True), *point[1:])
        symmetric = point[2].shape[-1] == 0
        solution = linear_solve(problem.jacobian(point).mT, torch.cat(cotangent, -1), symmetric=symmetric)
        return torch.split(solution, [part.shape[-1] for part in point], dim=-1)


@dataclass(frozen=True)
class SmoothAdjoint(Adjoint):
    """Adjoint of `LocalProblem` and `RootProblem`, chosen by size: a factorisation up to ``dense_limit`` unknowns, and
    beyond it MINRES for symmetric systems, which takes indefinite Hessians too, and GMRES for others."""

    dense_limit: int = 512

    @property
    def differentiable(self) -> bool:
        return True

    def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
        return self._chosen(problem, point).solve(problem, point, cotangent)

    def _chosen(self, problem: Problem, point: Point) -> Adjoint:
        if sum(part.shape[-1] for part in point) <= self.dense_limit:
            return DenseAdjoint()
        symmetric = isinstance(problem, LocalProblem) and point[2].shape[-1] == 0
        return KrylovAdjoint("minres" if symmetric else "gmres")
