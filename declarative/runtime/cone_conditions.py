"""The conditions of the implicit function theorem at a solution of a cone program.

Let D = D proj_K(s - z) = E diag(d) E', 0 <= d <= 1. From D dz = (I - D) A dx, a direction e of E is

    d = 0        an active row: e'A dx = 0, with a free multiplier,
    0 < d < 1    the boundary of the cone, curved there: dz = (1 - d)/d e'A dx adds the curvature
                 (1 - d)/d (A'e)(A'e)' to P,
    d = 1        inactive.

LICQ is the independence of the rows e'A with d = 0 (constraint nondegeneracy), second-order sufficiency the positive
definiteness of P with its curvature on their null space, and strict complementarity the distance of s - z from the
kinks of the projection.

Reference: Bonnans and Shapiro, Perturbation Analysis of Optimization Problems, 2000, sections 3.3 and 4.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from declarative.runtime.conditions import Conditions, condition_number, rank_and_curvature
from declarative.runtime.problem import Point

if TYPE_CHECKING:
    from declarative.runtime.cone import ConeProgram

FLAT = 1e-9
"""Eigenvalue of D below which a direction is an active row: its curvature 1/d would be all that counts."""


def conditions(program: ConeProgram, point: Point) -> Conditions:
    """See `ConeProgram.conditions`."""
    x, z, s = point
    precision = 1e-11 if x.dtype == torch.float64 else 1e-5
    x, z, s = (part.detach().double() for part in (x, z, s))
    program = program.with_tensors([t.detach().double() for t in program.tensors])
    batch, m = x.shape[:-1], program.pattern.m
    finite = torch.cat([x, z, s], -1).isfinite().all(-1)
    v = torch.where(finite[..., None], s - z, 0)

    D = program.pattern.cone.derivative(v, precision).dense().expand(*batch, m, m)
    P, A = (t.expand(*batch, *t.shape[-2:]) for t in (program.p_dense(), program.a_dense()))
    d, E = torch.linalg.eigh(D)
    rows, active = E.mT @ A, d <= FLAT
    curved = torch.where(active | (d >= 1 - FLAT), 0, (1 - d) / torch.where(active, 1, d))
    hessian = P + rows.mT @ (curved[..., None] * rows)
    hessian = torch.where(finite[..., None, None], hessian, torch.nan)
    rank, second_order = rank_and_curvature(hessian, rows * active[..., None])
    margin, row = program.pattern.cone.smallest_margin(v)
    return Conditions(
        licq_rank=rank,
        licq_rows=active.sum(-1),
        complementarity=torch.where(finite, margin, torch.nan),
        complementarity_row=torch.where(finite, row, -1),
        second_order=second_order,
        kkt_residual=program.relative_residual((x, z, s)),
        adjoint_condition=condition_number(_reduced(P, A, D, finite)),
    )


def _reduced(P: Tensor, A: Tensor, D: Tensor, finite: Tensor) -> Tensor:
    """[[P, A'], [-(I - D) A, D]]: the derivative of the residual with s eliminated; NaN where the point is."""
    slope = torch.eye(D.shape[-1], dtype=D.dtype, device=D.device) - D
    matrix = torch.cat([torch.cat([P, A.mT], -1), torch.cat([-(slope @ A), D], -1)], -2)
    return torch.where(finite[..., None, None], matrix, torch.nan)
