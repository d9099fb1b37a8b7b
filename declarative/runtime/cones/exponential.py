"""The exponential cone, the closure of {(r, s, t): s > 0, s exp(r/s) <= t}.

Write v = (r, s, t). Its projection p is v inside the cone, 0 inside the polar cone, (r, 0, max(t, 0)) where r, s <= 0,
and otherwise lies on the surface s exp(r/s) = t, where the ratio rho = p_r / p_s determines everything:

    p     = a (rho, 1, exp rho),               a = ((rho - 1) r + s) / (rho^2 - rho + 1) > 0
    v - p = c (1, 1 - rho, -exp(-rho)),        c = (r - rho s) / (rho^2 - rho + 1) > 0.

The first two coordinates hold identically; the third is the scalar equation
h(rho) = a exp(rho) - c exp(-rho) - t = 0, increasing on the interval where a, c > 0.

Derivative: the surface is phi(p) = p_s exp(p_r/p_s) - p_t = 0 and v - p = mu grad phi, mu = c exp(-rho).
Differentiate: (I + mu H) dp + g dmu = dv, g'dp = 0, with g = grad phi and the rank-one Hessian
H = (exp(rho)/p_s) n n', n = (1, -rho, 0). Hence, with mu exp(rho)/p_s = c/a,

    W = (I + mu H)^-1 = I - nn' c / (a + c (1 + rho^2)),      D = W - W g (W g)' / (g'W g).

Reference: Friberg, Projection onto the exponential cone: a univariate root-finding problem, 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from declarative.runtime.cones.base import Cone
from declarative.runtime.cones.root import increasing_root


@dataclass(frozen=True)
class Exponential(Cone):
    """cl {(r, s, t): s > 0, s exp(r/s) <= t}."""

    @property
    def dim(self) -> int:
        return 3

    def project(self, v: Tensor) -> Tensor:
        r, s, t = v.unbind(-1)
        contained, polar, over_flat = _contains(v), _polar_contains(v), _over_flat(v)
        flat = torch.stack([r, torch.zeros_like(s), t.clamp_min(0)], -1)
        surface = _surface_point(t, *_surface(v, ~(contained | polar | over_flat)))
        outside = torch.where(over_flat[..., None], flat, surface)
        return torch.where(contained[..., None], v, torch.where(polar[..., None], 0, outside))

    def derivative(self, v: Tensor, weak: Tensor) -> Tensor:
        r, s, t = v.unbind(-1)
        contained, over_flat = _contains(v), _over_flat(v)
        vanishing = _polar_contains(v) & (_polar_depth(v) > weak)
        root = _surface(v, ~(contained | vanishing | over_flat))
        distance = torch.linalg.vector_norm(v - _surface_point(t, *root), dim=-1)
        inside = contained | (~(vanishing | over_flat) & (distance <= weak))

        eye = torch.eye(3, dtype=v.dtype, device=v.device)
        flat = torch.diag_embed(torch.stack([torch.ones_like(r), torch.zeros_like(s), (t >= -weak).to(v.dtype)], -1))
        outside = torch.where(over_flat[..., None, None], flat, _surface_derivative(*root))
        return torch.where(inside[..., None, None], eye, torch.where(vanishing[..., None, None], 0, outside))

    def margin(self, v: Tensor) -> Tensor:
        p = self.project(v)
        away = torch.minimum(torch.linalg.vector_norm(p, dim=-1), torch.linalg.vector_norm(v - p, dim=-1))
        away = torch.where(_over_flat(v), torch.minimum(away, v[..., 2].abs()), away)
        return torch.where(_contains(v), _depth(v), torch.where(_polar_contains(v), _polar_depth(v), away))


def _contains(v: Tensor) -> Tensor:
    r, s, t = v.unbind(-1)
    return ((s > 0) & (s * (r / torch.where(s > 0, s, 1)).exp() <= t)) | ((s == 0) & (r <= 0) & (t >= 0))


def _polar_contains(v: Tensor) -> Tensor:
    """-v in K* = cl {(u, v, w): u < 0, -u exp(v/u - 1) <= w}."""
    r, s, t = v.unbind(-1)
    return ((r > 0) & (r * (s / torch.where(r > 0, r, 1) - 1).exp() <= -t)) | ((r == 0) & (s <= 0) & (t <= 0))


def _over_flat(v: Tensor) -> Tensor:
    """Whether the projection lies on the facet s = 0."""
    return (v[..., 0] <= 0) & (v[..., 1] <= 0)


def _depth(v: Tensor) -> Tensor:
    """Distance of a point of the cone from the surface, to first order."""
    r, s, t = v.unbind(-1)
    safe = torch.where(s > 0, s, 1)
    growth = (r / safe).exp()
    slope = torch.stack([growth, growth * (1 - r / safe), torch.ones_like(r)], -1)
    depth = (t - s * growth) / torch.linalg.vector_norm(slope, dim=-1)
    return torch.where(s > 0, torch.minimum(depth, s), 0)


def _polar_depth(v: Tensor) -> Tensor:
    """Distance of a point of the polar cone from its surface r exp(s/r - 1) = -t, to first order."""
    r, s, t = v.unbind(-1)
    safe = torch.where(r > 0, r, 1)
    growth = (s / safe - 1).exp()
    slope = torch.stack([growth * (1 - s / safe), growth, torch.ones_like(r)], -1)
    depth = (-t - r * growth) / torch.linalg.vector_norm(slope, dim=-1)
    return torch.where(r > 0, torch.minimum(depth, r), 0)


def _surface(v: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """rho, a and c of the projection onto the curved surface; meaningless (but finite) where not ``wanted``."""
    example = torch.tensor([1.0, 1.0, 0.0], dtype=v.dtype, device=v.device)
    r, s, t = torch.where(wanted[..., None], v, example).unbind(-1)
    positive_r, positive_s = r > 0, s > 0
    lower = torch.where(positive_r, 1 - s / torch.where(positive_r, r, 1), -torch.inf)
    upper = torch.where(positive_s, r / torch.where(positive_s, s, 1), torch.inf)

    def coefficients(rho: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        norm = rho * rho - rho + 1
        # Next to an end of the interval one of the two is zero up to rounding.
        return ((rho - 1) * r + s).clamp_min(0) / norm, (r - rho * s).clamp_min(0) / norm, norm

    def h(rho: Tensor) -> tuple[Tensor, Tensor]:
        a, c, norm = coefficients(rho)
        # exp overflows beyond the root, where only the sign matters.
        limit = 0.45 * torch.log(torch.tensor(torch.finfo(v.dtype).max)).item()
        up, down = rho.clamp(-limit, limit).exp(), (-rho).clamp(-limit, limit).exp()
        da = (r - a * (2 * rho - 1)) / norm
        dc = (-s - c * (2 * rho - 1)) / norm
        return a * up - c * down - t, (a + da) * up + (c - dc) * down

    lower, upper = _finite_bracket(h, lower, upper)
    rho = increasing_root(h, lower, upper)
    a, c, _ = coefficients(rho)
    # For rho > 0 the difference in a cancels and exp(rho) magnifies what is left; h = 0 gives it without either.
    down = (-rho.clamp_min(0)).exp()
    return rho, torch.where(rho > 0, (t + c * down).clamp_min(0) * down, a), c


def _surface_point(t: Tensor, rho: Tensor, a: Tensor, c: Tensor) -> Tensor:
    """p, its third coordinate by whichever side of h = 0 does not magnify rounding."""
    third = torch.where(rho > 0, (t + c * (-rho.clamp_min(0)).exp()).clamp_min(0), a * rho.clamp_max(0).exp())
    return torch.stack([a * rho, a, third], -1)


def _finite_bracket(
    h: Callable[[Tensor], tuple[Tensor, Tensor]], lower: Tensor, upper: Tensor
) -> tuple[Tensor, Tensor]:
    """Replace an infinite end by a finite one beyond the root, found by doubling."""
    width = torch.ones_like(lower)
    for _ in range(11):
        right = torch.where(upper.isinf(), torch.where(lower.isinf(), 0, lower) + width, upper)
        left = torch.where(lower.isinf(), torch.where(upper.isinf(), 0, upper) - width, lower)
        short = (upper.isinf() & (h(right)[0] < 0)) | (lower.isinf() & (h(left)[0] > 0))
        if not bool(short.any()):
            break
        width = torch.where(short, 2 * width, width)
    return left, right


def _surface_derivative(rho: Tensor, a: Tensor, c: Tensor) -> Tensor:
    one, zero = torch.ones_like(rho), torch.zeros_like(rho)
    n = torch.stack([one, -rho, zero], -1)
    shrink = torch.exp(-rho.clamp_min(0))  # g divided by max(1, exp rho), which leaves D as it is
    g = torch.stack([rho.clamp_max(0).exp(), rho.clamp_max(0).exp() * (1 - rho), -shrink], -1)
    weight = c / (a + c * (1 + rho * rho)).clamp_min(torch.finfo(rho.dtype).tiny)

    eye = torch.eye(3, dtype=rho.dtype, device=rho.device)
    W = eye - weight[..., None, None] * n[..., :, None] * n[..., None, :]
    Wg = (W @ g[..., None])[..., 0]
    return W - Wg[..., :, None] * Wg[..., None, :] / (g * Wg).sum(-1)[..., None, None]
