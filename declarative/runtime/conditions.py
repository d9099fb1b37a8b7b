"""The conditions under which the implicit function theorem holds at a solution, measured per instance.

A KKT point is the locally unique branch of a differentiable function of the data where three conditions hold:

- LICQ: the gradients of the active constraints are linearly independent (``licq_rank == licq_rows``);
- strict complementarity: of every inequality either the multiplier or the slack is positive (``complementarity > 0``);
- second-order sufficiency: the Hessian of the Lagrangian is positive definite on the null space of the active rows
  (``second_order > 0``).

Each is a margin, not a verdict, because a condition that nearly fails spoils a gradient as one that fails does.

Reference: Fiacco, Introduction to Sensitivity and Stability Analysis in Nonlinear Programming, 1983, theorem 3.2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditions:
    """The conditions of the theorem at one point, one number per instance; every tensor is (*batch).

    ``licq_rank``, ``licq_rows``: int64, rank and number of the active rows (equalities, active inequalities, bounds).
    ``complementarity``: the smallest of max(multiplier_i, slack_i) over the inequalities; +inf where there is none.
    ``complementarity_row``: int64, the inequality with that margin, numbered as the problem's class documents; -1
    where there is none.
    ``second_order``: smallest eigenvalue of the Hessian of the Lagrangian on the null space of the active rows; +inf
    where that space is zero (a vertex).
    ``kkt_residual``: largest entry of the KKT residual relative to the data's scale.
    ``adjoint_condition``: condition number (2-norm) of the matrix that the backward pass solves with; +inf where it is
    singular.
    """

    licq_rank: Tensor
    licq_rows: Tensor
    complementarity: Tensor
    complementarity_row: Tensor
    second_order: Tensor
    kkt_residual: Tensor
    adjoint_condition: Tensor


def strictly_complementary(margin: Tensor, residual: Tensor) -> Tensor:
    """Whether a margin of complementarity is told from zero at a point of this relative residual; (*batch), bool.

    Multiplier times slack is of the residual's size at a weakly active constraint, so both are of its root's.
    """
    eps = torch.finfo(margin.dtype).eps
    error = torch.where(residual > 100 * eps, residual, 0).sqrt()
    return margin > (10 * error).clamp_min(eps ** (2 / 3))


def rank_and_curvature(hessian: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rank of the active rows, and the smallest eigenvalue of the Hessian on their null space; both (*batch).

    ``hessian`` (*batch, n, n), symmetric; ``rows`` (*batch, r, n), the gradients of the constraints with zeros in place
    of the inactive ones. The curvature is +inf where the null space is zero. Instances that are not finite have rank 0
    and curvature NaN.
    """
    n = hessian.shape[-1]
    if n == 0:
        empty = hessian.new_full(hessian.shape[:-2], torch.inf)
        return torch.zeros_like(empty, dtype=torch.int64), empty
    finite = hessian.isfinite().all(-1).all(-1) & rows.isfinite().all(-1).all(-1)
    hessian, rows = (torch.where(finite[..., None, None], t, 0) for t in (hessian, rows))
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    rows = torch.where(norms > 0, rows / norms, 0)
    _, singular, basis = torch.linalg.svd(_at_least_square(rows))
    floor = max(rows.shape[-2:]) * 10 * torch.finfo(rows.dtype).eps * singular.amax(-1, keepdim=True).clamp_min(1)
    spanned = singular > floor
    rank = spanned.sum(-1)
    rotated = basis @ hessian @ basis.mT
    null = (~spanned).to(hessian.dtype)
    above = rotated.abs().amax((-2, -1)) * n + 1
    restricted = rotated * null[..., :, None] * null[..., None, :] + torch.diag_embed(above[..., None] * spanned)
    smallest = torch.linalg.eigvalsh((restricted + restricted.mT) / 2)[..., 0]
    smallest = torch.where(rank == n, torch.inf, smallest)
    return rank, torch.where(finite, smallest, torch.nan)


def condition_number(matrix: Tensor) -> Tensor:
    """Largest over smallest singular value, (*batch); one if empty, +inf if singular to rounding, NaN if not finite."""
    if matrix.shape[-1] == 0:
        return matrix.new_ones(matrix.shape[:-2])
    finite = matrix.isfinite().all(-1).all(-1)
    singular = torch.linalg.svdvals(torch.where(finite[..., None, None], matrix, 0))
    floor = matrix.shape[-1] * torch.finfo(matrix.dtype).eps * singular[..., 0]
    condition = torch.where(singular[..., -1] > floor, singular[..., 0] / singular[..., -1], torch.inf)
    return torch.where(finite, condition, torch.nan)


def smallest_margin(multiplier: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest max(multiplier_i, slack_i) over the last dimension, and its index; +inf and -1 where there is no row."""
    if multiplier.shape[-1] == 0:
        return multiplier.new_full(multiplier.shape[:-1], torch.inf), multiplier.new_full(
            multiplier.shape[:-1], -1, dtype=torch.int64
        )
    margin, row = torch.maximum(multiplier, slack).min(-1)
    return margin, torch.where(torch.isinf(margin), -1, row)


def _at_least_square(rows: Tensor) -> Tensor:
    """n rows with the same null space: zero rows below where there are fewer, the R of a QR where there are more."""
    count, n = rows.shape[-2:]
    if count > n:
        triangle: Tensor = torch.linalg.qr(rows, mode="r")[1]
        return triangle
    return torch.cat([rows, rows.new_zeros(*rows.shape[:-2], n - count, n)], -2)
