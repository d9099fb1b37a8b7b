"""The power cone {(x, y, z): x^alpha y^(1 - alpha) >= |z|, x >= 0, y >= 0} with 0 < alpha < 1.

The projection p of v is v inside the cone, 0 inside the polar cone, (max(x, 0), max(y, 0), 0) where z = 0, and
otherwise lies on the surface. With rho = |p_z| and lam = |z| - rho > 0 its stationarity conditions are

    p_x (p_x - x) = alpha lam rho,      p_y (p_y - y) = (1 - alpha) lam rho,

two quadratics with p_x, p_y > 0, which leave one scalar equation in rho on (0, |z|):

    h(rho) = log rho - alpha log p_x - (1 - alpha) log p_y = 0, whose only root this is.

Derivative: phi(p) = |p_z| - p_x^alpha p_y^(1 - alpha), v - p = lam g with g = grad phi, and the Hessian of phi has
rank one: H = alpha (1 - alpha) rho nn', n = (1/p_x, -1/p_y, 0). As for the exponential cone g'p = 0 and Hp = 0, and

    D = pp'/p'p + theta (I - pp'/p'p - gg'/g'g),      theta = g'g / (g'g + lam alpha (1 - alpha) rho p'p),

by n'(g x p) = p'p, where g = (-alpha rho p_y, -(1 - alpha) rho p_x, sign(z) p_x p_y) is the gradient times p_x p_y.

D is a formula in rho(v), whose own derivative is that of one Newton step on h: so the second derivative is autograd's.

Reference: Hien, Differential properties of Euclidean projection onto power cone, Math. Methods Oper. Res. 82, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from declarative.runtime.cones.base import Cone
from declarative.runtime.cones.root import increasing_root
from declarative.runtime.cones.surface import derivative_on_surface


@dataclass(frozen=True)
class Power(Cone):
    """{(x, y, z): x^alpha y^(1 - alpha) >= |z|, x, y >= 0}."""

    alpha: float

    @property
    def dim(self) -> int:
        return 3

    def project(self, v: Tensor) -> Tensor:
        inside, polar, flat = self._contains(v), self._polar_contains(v), v[..., 2] == 0
        p = self._surface(v, ~(inside | polar | flat))
        on_flat = torch.cat([v[..., :2].clamp_min(0), torch.zeros_like(v[..., 2:])], -1)
        outside = torch.where(flat[..., None], on_flat, p)
        return torch.where(inside[..., None], v, torch.where(polar[..., None], 0, outside))

    def derivative(self, v: Tensor, weak: Tensor) -> Tensor:
        contained, flat = self._contains(v), v[..., 2] == 0
        vanishing = self._polar_contains(v) & (self._polar_depth(v) > weak)
        wanted = ~(contained | vanishing | flat)
        p = self._surface(v, wanted)
        inside = contained | (wanted & (torch.linalg.vector_norm(v - p, dim=-1) <= weak))
        surface = self._surface_derivative(p, torch.where(wanted, v[..., 2], 1))

        eye = torch.eye(3, dtype=v.dtype, device=v.device)
        outside = torch.where(flat[..., None, None], self._flat_derivative(v), surface)
        return torch.where(inside[..., None, None], eye, torch.where(vanishing[..., None, None], 0, outside))

    def second_derivative(self, v: Tensor, weak: Tensor, a: Tensor, b: Tensor) -> Tensor:
        contained, flat = self._contains(v), v[..., 2] == 0
        vanishing = self._polar_contains(v) & (self._polar_depth(v) > weak)
        wanted = ~(contained | vanishing | flat)
        p = self._surface(v, wanted)
        curved = wanted & (torch.linalg.vector_norm(v - p, dim=-1) > weak)
        at = torch.where(curved[..., None], v, _example(v))
        rho = self._surface(at, curved)[..., 2].abs()

        def form(moved: Tensor) -> Tensor:
            value, _ = self._h(moved, rho)
            at_root = rho - value / self._h(at, rho)[1]
            z = moved[..., 2]
            D = self._surface_derivative(torch.stack([*self._legs(moved, at_root), z.sign() * at_root], -1), z)
            return (a * (D @ b[..., None])[..., 0]).sum()

        second = torch.where(curved[..., None], torch.func.grad(form)(at), 0)
        on_edge = flat & ~contained & ~vanishing  # p lies on x = 0 or y = 0, where the surface has no curvature to give
        return torch.where(on_edge[..., None], torch.nan, second)

    def margin(self, v: Tensor) -> Tensor:
        p = self.project(v)
        away = torch.minimum(torch.linalg.vector_norm(p, dim=-1), torch.linalg.vector_norm(v - p, dim=-1))
        inside, polar = self._contains(v), self._polar_contains(v)
        return torch.where(inside, self._depth(v), torch.where(polar, self._polar_depth(v), away))

    def _mean(self, x: Tensor, y: Tensor) -> Tensor:
        return x.clamp_min(0) ** self.alpha * y.clamp_min(0) ** (1 - self.alpha)

    def _contains(self, v: Tensor) -> Tensor:
        x, y, z = v.unbind(-1)
        return (x >= 0) & (y >= 0) & (self._mean(x, y) >= z.abs())

    def _polar_contains(self, v: Tensor) -> Tensor:
        """-v in K* = {(u, v, w): (u/alpha)^alpha (v/(1 - alpha))^(1 - alpha) >= |w|, u, v >= 0}."""
        x, y, z = v.unbind(-1)
        return (x <= 0) & (y <= 0) & (self._mean(-x / self.alpha, -y / (1 - self.alpha)) >= z.abs())

    def _depth(self, v: Tensor) -> Tensor:
        """Distance of a point of the cone from its boundary, to first order."""
        return self._gap(v, self._mean(v[..., 0], v[..., 1]))

    def _polar_depth(self, v: Tensor) -> Tensor:
        """Distance of a point of the polar cone from its boundary, to first order."""
        return self._gap(-v, self._mean(-v[..., 0] / self.alpha, -v[..., 1] / (1 - self.alpha)))

    def _gap(self, v: Tensor, mean: Tensor) -> Tensor:
        """mean - |z| over the norm of its gradient, where mean is a multiple of x^alpha y^(1 - alpha)."""
        x, y, z = v.unbind(-1)
        tiny = torch.finfo(v.dtype).tiny
        by_x, by_y = self.alpha * mean / x.clamp_min(tiny), (1 - self.alpha) * mean / y.clamp_min(tiny)
        slope = torch.stack([by_x, by_y, torch.ones_like(z)], -1)
        return torch.minimum((mean - z.abs()) / torch.linalg.vector_norm(slope, dim=-1), torch.minimum(x, y))

    def _surface(self, v: Tensor, wanted: Tensor) -> Tensor:
        """The projection onto the curved surface; meaningless (but finite) where not ``wanted``."""
        v = torch.where(wanted[..., None], v, _example(v))
        size = v[..., 2].abs()
        rho = increasing_root(lambda rho: self._h(v, rho), size * 1e-30, size)
        return torch.stack([*self._legs(v, rho), v[..., 2].sign() * rho], -1)

    def _legs(self, v: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        """p_x and p_y for a value of rho."""
        x, y, z = v.unbind(-1)
        product = rho * (z.abs() - rho)
        return _positive_root(x, self.alpha * product), _positive_root(y, (1 - self.alpha) * product)

    def _h(self, v: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        """h(rho) and its slope."""
        (x, y, z), alpha = v.unbind(-1), self.alpha
        p_x, p_y = self._legs(v, rho)
        change = z.abs() - 2 * rho
        slope = 1 / rho - change * (alpha**2 / (p_x * (2 * p_x - x)) + (1 - alpha) ** 2 / (p_y * (2 * p_y - y)))
        return rho.log() - alpha * p_x.log() - (1 - alpha) * p_y.log(), slope

    def _surface_derivative(self, p: Tensor, z: Tensor) -> Tensor:
        p_x, p_y, p_z = p.unbind(-1)
        alpha, rho = self.alpha, p_z.abs()
        g = torch.stack([-alpha * rho * p_y, -(1 - alpha) * rho * p_x, z.sign() * p_x * p_y], -1)
        bend = (z.abs() - rho).clamp_min(0) * alpha * (1 - alpha) * rho
        return derivative_on_surface(p, g, g.square().sum(-1), bend * p.square().sum(-1))

    def _flat_derivative(self, v: Tensor) -> Tensor:
        """At z = 0 outside both cones: one of x, y is positive, and the other decides how far z is followed."""
        x, y, _ = v.unbind(-1)
        # With the exponent of the leg that vanishes below one half all of z is followed, above it nothing.
        steep = x > 0 if self.alpha > 0.5 else x <= 0
        kept, lost = torch.maximum(x, y).clamp_min(torch.finfo(v.dtype).tiny), -torch.minimum(x, y)
        along = kept / (kept + 2 * lost) if self.alpha == 0.5 else steep.to(v.dtype)
        return torch.diag_embed(torch.stack([(x > 0).to(v.dtype), (y > 0).to(v.dtype), along], -1))


def _example(v: Tensor) -> Tensor:
    """A vector over the curved surface."""
    return torch.tensor([0.0, 0.0, 1.0], dtype=v.dtype, device=v.device)


def _positive_root(x: Tensor, product: Tensor) -> Tensor:
    """The positive p with p (p - x) = product >= 0, without cancellation."""
    root = (x * x + 4 * product).sqrt()
    tiny = torch.finfo(x.dtype).tiny
    return torch.where(x >= 0, (x + root) / 2, 2 * product / (root - x).clamp_min(tiny)).clamp_min(tiny)
