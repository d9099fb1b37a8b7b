"""The adjoint of a quadratic program through the KKT system of its active set.

The residual F of `DenseQP` is linear in w = (x, nu, lambda, z) once the active set is read off the point, and
(dF/dw)' u = w_bar reads, row by row,

    P u_x + A'u_nu + G'u_lambda [active] + u_z [held]  = x_bar
    A u_x                                              = nu_bar
    G u_x = lambda_bar  on active rows,   u_lambda = lambda_bar - G u_x  elsewhere
    u_x   = z_bar       on held variables,     u_z = z_bar - u_x         elsewhere.

Where a row is inactive F is lambda itself, in which no data appears: the cotangent of an inactive multiplier, a
constant zero near the solution, reaches nothing. No multiplier is divided by, clamped or asked for its sign.

What is returned where the implicit function theorem does not apply: an inequality that is weakly active (multiplier and
slack both zero) counts as inactive, see `DenseQP.active_set`; with dependent active rows or a non-unique x, u is the
least-norm solution. In a linear program no motion of q moves x: with cotangents on x alone, u_x is zero exactly.

Reference: Amos and Kolter, OptNet: Differentiable Optimization as a Layer in Neural Networks, 2017, section 3.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from declarative.runtime.kkt_system import solve_active_system
from declarative.runtime.problem import Adjoint, Point, Problem
from declarative.runtime.quadratic import DenseQP, QPPoint, matvec


@final
class ActiveSetAdjoint(Adjoint):
    """Solves the transposed KKT system of a `DenseQP` at the active set of the point."""

    @property
    def differentiable(self) -> bool:
        return True

    def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
        if not isinstance(problem, DenseQP):
            raise TypeError(f"ActiveSetAdjoint is the adjoint of DenseQP, not of {type(problem).__name__}")
        bar = QPPoint(*cotangent)
        active = problem.active_set(point)
        u = solve_active_system(problem, active, bar)
        x = _exactly_zero_at_a_vertex(problem, u.x, bar)
        ineq = u.ineq
        if problem.G is not None:
            ineq = torch.where(active.ineq, ineq, bar.ineq - matvec(problem.G, x))
        return x, u.eq, ineq, torch.where(active.bounds, u.bounds, bar.bounds - x)


def _exactly_zero_at_a_vertex(problem: DenseQP, x: Tensor, bar: QPPoint) -> Tensor:
    """u_x without its rounding where it is zero in exact arithmetic: P = 0 and no cotangent on a multiplier.

    The rounding is subtracted as a constant, so that u_x keeps its derivative in P and in those cotangents.
    """
    linear = (problem.P == 0).all(-1).all(-1)
    quiet = torch.cat([bar.eq, bar.ineq, bar.bounds], -1).eq(0).all(-1)
    return x - torch.where((linear & quiet)[..., None], x, 0).detach()
