"""The second-order cone {(t, u): ||u|| <= t}, self-dual.

With r = ||u|| and the direction e = u / r, v = (t, u) has the spectral values t + r and t - r and

    proj(v) = v                          t - r >= 0
              0                          t + r <= 0
              (t + r)/2 (1, e)           otherwise

    D = I,   0,   and otherwise   1/2 [ 1   e'                       ]
                                      [ e   (1 + t/r) I - (t/r) ee'  ].

There, with the parts of a = (a_0, a_1) and b off the direction, a_p = a_1 - (e'a_1) e and b_p alike,

    D^2 proj(v)[a, b] = ( w,  a_0 b_p + b_0 a_p - (t/r) (w e + (e'b_1) a_p + (e'a_1) b_p) ) / 2r,    w = a_p'b_p.

Reference: Alizadeh and Goldfarb, Second-order cone programming, Math. Program. 95, 2003.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from declarative.runtime.cones.base import Cone


@dataclass(frozen=True)
class SecondOrder(Cone):
    """{(t, u) in R x R^(size - 1): ||u|| <= t}."""

    size: int

    @property
    def dim(self) -> int:
        return self.size

    def project(self, v: Tensor) -> Tensor:
        t, r, e = _polar(v)
        boundary = ((t + r) / 2)[..., None] * torch.cat([torch.ones_like(t)[..., None], e], -1)
        inside, outside = (t >= r)[..., None], (t <= -r)[..., None]
        return torch.where(inside, v, torch.where(outside, 0, boundary))

    def derivative(self, v: Tensor, weak: Tensor) -> Tensor:
        t, r, e = _polar(v)
        eye = torch.eye(self.size, dtype=v.dtype, device=v.device)
        ratio = (t / torch.where(r > 0, r, 1))[..., None, None]
        corner = torch.ones_like(ratio)
        tail = (1 + ratio) * eye[1:, 1:] - ratio * e[..., :, None] * e[..., None, :]
        head = torch.cat([corner, e[..., None, :]], -1)
        boundary = torch.cat([head, torch.cat([e[..., :, None], tail], -1)], -2) / 2
        inside, outside = (t - r >= -weak)[..., None, None], (t + r < -weak)[..., None, None]
        return torch.where(inside, eye, torch.where(outside, 0, boundary))

    def second_derivative(self, v: Tensor, weak: Tensor, a: Tensor, b: Tensor) -> Tensor:
        t, r, e = (x if x.dim() == v.dim() else x[..., None] for x in _polar(v))
        on_boundary = (t - r < -weak[..., None]) & (t + r >= -weak[..., None]) & (r > 0)
        r = torch.where(on_boundary, r, 1)
        a_e, b_e = ((e * x[..., 1:]).sum(-1, keepdim=True) for x in (a, b))
        a_p, b_p = a[..., 1:] - a_e * e, b[..., 1:] - b_e * e
        w = (a_p * b_p).sum(-1, keepdim=True)
        tail = a[..., :1] * b_p + b[..., :1] * a_p - t / r * (w * e + b_e * a_p + a_e * b_p)
        return torch.where(on_boundary, torch.cat([w, tail], -1) / (2 * r), 0)

    def margin(self, v: Tensor) -> Tensor:
        t, r, _ = _polar(v)
        return torch.minimum((t - r).abs(), (t + r).abs()) / 2**0.5


def _polar(v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """t, r = ||u|| and the unit vector e = u / r (zero where u is)."""
    t, u = v[..., 0], v[..., 1:]
    r = torch.linalg.vector_norm(u, dim=-1)
    return t, r, u / torch.where(r > 0, r, 1)[..., None]
