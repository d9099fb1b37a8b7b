"""The derivative of the projection onto the curved surface of a cone of three dimensions, by its three eigenvectors.

A cone's surface is flat along the ray through p = proj(v), curved across it, and v - p is normal to it: so D has the
eigenvector p with eigenvalue 1, v - p with 0, and the one across both with theta between them, the smaller the more
curved the surface is and the further v lies above it.

Reference: Holmes, Smoothness of certain metric projections on Hilbert space, Trans. Amer. Math. Soc. 184, 1973.
"""

from __future__ import annotations

import torch
from torch import Tensor


def derivative_on_surface(along: Tensor, normal: Tensor, flat: Tensor, curved: Tensor) -> Tensor:
    """D (*batch, 3, 3) with ``along`` and ``normal`` (*batch, 3) of any length and theta = flat / (flat + curved).

    ``flat`` and ``curved`` are (*batch), nonnegative, not both zero.
    """
    ray, away = (_outer(x) / x.square().sum(-1)[..., None, None] for x in (along, normal))
    theta = flat / (flat + curved).clamp_min(torch.finfo(flat.dtype).tiny)
    eye = torch.eye(3, dtype=along.dtype, device=along.device)
    return ray + theta[..., None, None] * (eye - ray - away)


def _outer(x: Tensor) -> Tensor:
    return x[..., :, None] * x[..., None, :]
