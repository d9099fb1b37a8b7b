"""The exponential cone, the closure of {(r, s, t): s > 0, s exp(r/s) <= t}.

Write v = (r, s, t). Its projection p is v inside the cone, 0 inside the polar cone, (r, 0, max(t, 0)) where r, s <= 0,
and otherwise lies on the surface s exp(r/s) = t, where the ratio rho = p_r / p_s determines everything:

    p     = a (rho, 1, exp rho),               a = ((rho - 1) r + s) / (rho^2 - rho + 1) > 0
    v - p = c (1, 1 - rho, -exp(-rho)),        c = (r - rho s) / (rho^2 - rho + 1) > 0.

The first two coordinates hold identically; the third is the scalar equation
h(rho) = a exp(rho) - c exp(-rho) - t = 0, increasing on the interval where a, c > 0.

Derivative: the surface is phi(p) = p_s exp(p_r/p_s) - p_t = 0 and v - p = mu grad phi, mu = c exp(-rho).
Differentiate: (I + mu H) dp + g dmu = dv, g'dp = 0, with g = grad phi and the rank-one Hessian
H = (exp(rho)/p_s) n n', n = (1, -rho, 0). A cone is straight along its rays: p lies in the tangent plane, g'p = 0, and
in the kernel of H. So D has the eigenvectors q = (rho, 1, exp rho), along p, with 1, g, along v - p, with 0, and with
theta the one across both:

    D = qq'/q'q + theta (I - qq'/q'q - gg'/g'g),      theta = a g'g / (a g'g + c q'q),

by n'(g x q) = q'q and mu exp(rho)/p_s = c/a. Nothing cancels, however flat or sharp the cone is at p.

D is a formula in rho(v), whose own derivative is that of one Newton step on h: so the second derivative is autograd's.

Reference: Friberg, Projection onto the exponential cone: a univariate root-finding problem, 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from declarative.runtime.cones.base import Cone
from declarative.runtime.cones.root import increasing_root
from declarative.runtime.cones.surface import derivative_on_surface

FAR = 1e3
"""An end of the root's bracket that is further out than this says little about where the root is."""


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

    def second_derivative(self, v: Tensor, weak: Tensor, a: Tensor, b: Tensor) -> Tensor:
        contained, vanishing = _contains(v), _polar_contains(v) & (_polar_depth(v) > weak)
        wanted = ~(contained | vanishing | _over_flat(v))
        root = _surface(v, wanted)
        wanted = wanted & (torch.linalg.vector_norm(v - _surface_point(v[..., 2], *root), dim=-1) > weak)
        at = torch.where(wanted[..., None], v, _example(v))
        rho = torch.where(wanted, root[0], _surface(at, wanted)[0])

        def form(moved: Tensor) -> Tensor:
            value, _ = _h(moved, rho)
            at_root = rho - value / _h(at, rho)[1]
            D = _surface_derivative(at_root, *_scales(moved, at_root))
            return (a * (D @ b[..., None])[..., 0]).sum()

        return torch.where(wanted[..., None], torch.func.grad(form)(at), 0)

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


def _example(v: Tensor) -> Tensor:
    """A vector over the curved surface."""
    return torch.tensor([1.0, 1.0, 0.0], dtype=v.dtype, device=v.device)


def _surface(v: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """rho, a and c of the projection onto the curved surface; meaningless (but finite) where not ``wanted``."""
    v = torch.where(wanted[..., None], v, _example(v))
    r, s, _ = v.unbind(-1)
    positive_r, positive_s = r > 0, s > 0
    lower = torch.where(positive_r, 1 - s / torch.where(positive_r, r, 1), -torch.inf)
    upper = torch.where(positive_s, r / torch.where(positive_s, s, 1), torch.inf)

    def h(rho: Tensor) -> tuple[Tensor, Tensor]:
        return _h(v, rho)

    lower, upper = _finite_bracket(h, lower, upper)
    rho = increasing_root(h, lower, upper)
    return rho, *_scales(v, rho)


def _coefficients(v: Tensor, rho: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a and c as they are stated above, and their denominator."""
    r, s, _ = v.unbind(-1)
    norm = rho * rho - rho + 1
    # Next to an end of the interval one of the two is zero up to rounding.
    return ((rho - 1) * r + s).clamp_min(0) / norm, (r - rho * s).clamp_min(0) / norm, norm


def _h(v: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
    """h(rho) and its slope."""
    r, s, t = v.unbind(-1)
    a, c, norm = _coefficients(v, rho)
    # exp overflows beyond the root, where only the sign matters.
    limit = 0.45 * math.log(torch.finfo(v.dtype).max)
    up, down = rho.clamp(-limit, limit).exp(), (-rho).clamp(-limit, limit).exp()
    da = (r - a * (2 * rho - 1)) / norm
    dc = (-s - c * (2 * rho - 1)) / norm
    return a * up - c * down - t, (a + da) * up + (c - dc) * down


def _scales(v: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
    """a and c at the root."""
    a, c, _ = _coefficients(v, rho)
    # For rho > 0 the difference in a cancels and exp(rho) magnifies what is left; h = 0 gives it without either.
    down = (-rho.clamp_min(0)).exp()
    return torch.where(rho > 0, (v[..., 2] + c * down).clamp_min(0) * down, a), c


def _surface_point(t: Tensor, rho: Tensor, a: Tensor, c: Tensor) -> Tensor:
    """p, its third coordinate by whichever side of h = 0 does not magnify rounding."""
    third = torch.where(rho > 0, (t + c * (-rho.clamp_min(0)).exp()).clamp_min(0), a * rho.clamp_max(0).exp())
    return torch.stack([a * rho, a, third], -1)


def _finite_bracket(
    h: Callable[[Tensor], tuple[Tensor, Tensor]], lower: Tensor, upper: Tensor
) -> tuple[Tensor, Tensor]:
    """Replace an end that is infinite, or far out, by one beyond the root, found by doubling."""
    high, low = upper > FAR, lower < -FAR
    width = torch.ones_like(lower)
    for _ in range(11):
        right = torch.where(high, torch.minimum(torch.where(low, 0, lower) + width, upper), upper)
        left = torch.where(low, torch.maximum(torch.where(high, 0, upper) - width, lower), lower)
        short = ((right < upper) & (h(right)[0] < 0)) | ((left > lower) & (h(left)[0] > 0))
        if not bool(short.any()):
            break
        width = torch.where(short, 2 * width, width)
    return left, right


def _surface_derivative(rho: Tensor, a: Tensor, c: Tensor) -> Tensor:
    down, up = (-rho.clamp_min(0)).exp(), rho.clamp_max(0).exp()
    # Both divided by max(1, exp rho), which leaves D as it is.
    q = torch.stack([rho * down, down, up], -1)
    g = torch.stack([up, up * (1 - rho), -down], -1)
    return derivative_on_surface(q, g, a * g.square().sum(-1), c * q.square().sum(-1))
