"""The cone of positive semidefinite matrices, as scaled vectors: svec(V) stacks the columns of the upper triangle with
the off-diagonal entries times sqrt 2, so that svec(V)'svec(W) = tr(VW) and the cone is self-dual.

With V = Q diag(l) Q',

    proj(V) = Q diag(max(l, 0)) Q',    D = sum_{i <= j} theta_ij w_ij w_ij',

    w_ii = svec(q_i q_i'),   w_ij = svec(q_i q_j' + q_j q_i') / sqrt 2,
    theta_ij = 1 if l_i, l_j >= 0;   0 if neither;   l_i / (l_i - l_j) if l_i >= 0 > l_j.

The second derivative has the second divided differences of max(l, 0). Of three eigenvalues they vanish unless one, l_o,
lies on the other side of zero than the other two, and are then |l_o| / (|l_o - l_p| |l_o - l_q|): no difference between
eigenvalues of one side is divided by. With A = Q'smat(a)Q, B alike and h_ij = 1 / |l_i - l_j| across zero, else 0,

    D^2 proj(V)[A, B] = Q (S(A, B) + S(B, A)) Q',

    S(A, B)_ij = sum_k (|l_i| h_ik h_ij + |l_k| h_ik h_kj + |l_j| h_ij h_kj) A_ik B_kj.

The w_ij are an orthonormal basis, so these are the eigenvectors of D and repeated eigenvalues of V do no harm.

Reference: Malick and Sendov, Clarke generalized Jacobian of the projection onto the cone of positive semidefinite
matrices, Set-Valued Anal. 14, 2006.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from declarative.runtime.cones.base import Cone


@dataclass(frozen=True)
class Semidefinite(Cone):
    """{svec(V): V symmetric of the given order, V >= 0}."""

    order: int

    @property
    def dim(self) -> int:
        return self.order * (self.order + 1) // 2

    def project(self, v: Tensor) -> Tensor:
        values, Q = torch.linalg.eigh(smat(v, self.order))
        return svec((Q * values.clamp_min(0)[..., None, :]) @ Q.mT)

    def derivative(self, v: Tensor, weak: Tensor) -> Tensor:
        values, Q = torch.linalg.eigh(smat(v, self.order))
        kept = values >= -weak[..., None]
        positive, rest = torch.where(kept, values, 0), torch.where(kept, 0, values)
        # l_i / (l_i - l_j) for one kept and one not; the clamps guard l_i ~ 0 and the entries that are not used.
        spread = (positive[..., :, None] - rest[..., None, :]).clamp_min(torch.finfo(v.dtype).tiny)
        mixed = (positive[..., :, None] / spread).clamp(0, 1)
        both = kept[..., :, None] & kept[..., None, :]
        theta = torch.where(
            both, 1, torch.where(kept[..., :, None], mixed, torch.where(kept[..., None, :], mixed.mT, 0))
        )
        i, j, scale = _triangle(self.order, v)
        outer = Q[..., :, i][..., :, None, :] * Q[..., :, j][..., None, :, :]
        symmetric = (outer + outer.transpose(-3, -2)) / 2
        W = svec(symmetric.movedim(-1, -3)) * scale[:, None]
        D = W.mT @ (theta[..., i, j][..., None] * W)
        inside = kept.all(-1)[..., None, None]
        return torch.where(inside, torch.eye(self.dim, dtype=v.dtype, device=v.device), D)

    def second_derivative(self, v: Tensor, weak: Tensor, a: Tensor, b: Tensor) -> Tensor:
        values, Q = torch.linalg.eigh(smat(v, self.order))
        kept = values >= -weak[..., None]
        across = kept[..., :, None] != kept[..., None, :]
        apart = (values[..., :, None] - values[..., None, :]).abs()
        h = torch.where(across, 1 / torch.where(across, apart, 1).clamp_min(torch.finfo(v.dtype).tiny), 0)
        size = values.abs()
        A, B = (Q.mT @ smat(x, self.order) @ Q for x in (a, b))

        def one_sided(A: Tensor, B: Tensor) -> Any:
            first = size[..., :, None] * h * ((h * A) @ B)
            middle = (h * A * size[..., None, :]) @ (h * B)
            return first + middle + size[..., None, :] * h * (A @ (h * B))

        rotated: Tensor = one_sided(A, B) + one_sided(B, A)
        return svec(Q @ rotated @ Q.mT)

    def margin(self, v: Tensor) -> Tensor:
        values: Tensor = torch.linalg.eigvalsh(smat(v, self.order))
        return values.abs().amin(-1)


def svec(V: Tensor) -> Tensor:
    """The scaled upper triangle of a symmetric matrix by columns; (*batch, k, k) -> (*batch, k(k+1)/2)."""
    i, j, scale = _triangle(V.shape[-1], V)
    return V[..., i, j] * scale


def smat(v: Tensor, order: int) -> Tensor:
    """The symmetric matrix of a scaled triangle; (*batch, k(k+1)/2) -> (*batch, k, k)."""
    i, j, scale = _triangle(order, v)
    place = torch.zeros(order, order, dtype=torch.long, device=v.device)
    place[i, j] = torch.arange(len(i), device=v.device)
    place[j, i] = place[i, j]
    return (v / scale)[..., place]


def _triangle(order: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows i <= columns j of the upper triangle by columns, and the scale of each entry."""
    j, i = torch.tril_indices(order, order, device=like.device)
    return i, j, torch.where(i == j, 1, 2).to(like.dtype).sqrt()
