"""A batch of quadratic programs in the one shape that the interior point iterates on, and the way back.

Every field is present, in float64, with one flat batch dimension; bounds are infinite where absent. Fixed variables are
moved into the right-hand sides, and the data is equilibrated: with diagonal D, E, F and positive numbers c and t,

    P^ = c D P D,    A^ = E A D,    G^ = F G D,    l^ = l / (t D),    u^ = u / (t D),
    q^ = c D q / t,  b^ = E b / t,  h^ = F h / t,

whose solution returns as x = t D x^, nu = t E nu^ / c, lambda = t F lambda^ / c, z = t z^ / (c D). The length t is one
but where everything that sets the size of x is small.

Reference: Stellato et al., OSQP: an operator splitting solver for quadratic programs, 2020, section 5.1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from declarative.runtime.quadratic import DenseQP, QPPoint, matvec

UNBOUNDED = 1e20
"""A bound or right-hand side of this magnitude or more is no constraint."""


SENSIBLE = 1e4
"""Size of a point relative to the scaled data beyond which it may be a ray."""


class Form(NamedTuple):
    """Data of one flat batch: minimise 1/2 x'Px + q'x subject to Ax = b, Gx <= h, lower <= x <= upper."""

    P: Tensor
    q: Tensor
    A: Tensor
    b: Tensor
    G: Tensor
    h: Tensor
    lower: Tensor
    upper: Tensor

    def take(self, lanes: Tensor) -> Form:
        """The instances at the indices ``lanes``."""
        return Form(*(t.index_select(0, lanes) for t in self))

    def as_problem(self) -> DenseQP:
        """The same batch as a `DenseQP`."""
        return DenseQP(**self._asdict())


class Scales(NamedTuple):
    """How a scaled form goes back: D (B, n), E (B, p), F (B, m), c and t (B, 1), and where variables were fixed."""

    variables: Tensor
    equalities: Tensor
    inequalities: Tensor
    cost: Tensor
    length: Tensor
    fixed: Tensor
    """(B, n), the value of a fixed variable, zero elsewhere."""


def flatten(problem: DenseQP) -> Form:
    """One flat batch in float64, with zero-row constraints and infinite bounds in place of what is absent."""
    batch, n, q = problem.batch_shape, problem.n, problem.q

    def full(tensor: Tensor | None, *core: int, absent: float = 0.0) -> Tensor:
        if tensor is None:
            return q.new_full((batch.numel(), *core), absent, dtype=torch.float64)
        return tensor.to(torch.float64).expand(*batch, *core).reshape(batch.numel(), *core)

    P = full(problem.P, n, n)
    lower, upper = full(problem.lower, n, absent=-torch.inf), full(problem.upper, n, absent=torch.inf)
    h = full(problem.h, problem.m)
    return Form(
        P=(P + P.mT) / 2,
        q=full(q, n),
        A=full(problem.A, problem.p, n),
        b=full(problem.b, problem.p),
        G=full(problem.G, problem.m, n),
        h=torch.where(h >= UNBOUNDED, torch.inf, h),
        lower=torch.where(lower <= -UNBOUNDED, -torch.inf, lower),
        upper=torch.where(upper >= UNBOUNDED, torch.inf, upper),
    )


def without_fixed(form: Form) -> tuple[Form, Tensor]:
    """The form in the other variables, with x_i = 0 where one was fixed, and the fixed values (B, n)."""
    held = form.lower == form.upper
    if not bool(held.any()):
        return form, torch.zeros_like(form.q)
    fixed = torch.where(held, form.lower, 0)
    both = held[..., :, None] | held[..., None, :]
    cleared = torch.where(both, 0, form.P) + torch.diag_embed(held.to(form.P.dtype))
    moved = form._replace(
        P=cleared,
        q=torch.where(held, 0, form.q + matvec(form.P, fixed)),
        A=torch.where(held[..., None, :], 0, form.A),
        b=form.b - matvec(form.A, fixed),
        G=torch.where(held[..., None, :], 0, form.G),
        h=form.h - matvec(form.G, fixed),
        lower=torch.where(held, -torch.inf, form.lower),
        upper=torch.where(held, torch.inf, form.upper),
    )
    return moved, fixed


def loosened(form: Form, x: Tensor, eps: float) -> Form:
    """The form with every inequality relaxed by ``eps`` times its terms at x: rows that meet in one point and were then
    rounded leave room for one again. Fixed variables stay."""
    held = form.lower == form.upper
    size = eps * x.abs().amax(-1, keepdim=True) if x.shape[-1] else x
    return form._replace(
        h=form.h + eps * (form.h.abs() + matvec(form.G.abs(), x.abs())),
        lower=torch.where(held, form.lower, form.lower - eps * form.lower.abs() - size),
        upper=torch.where(held, form.upper, form.upper + eps * form.upper.abs() + size),
    )


def equilibrate(form: Form, rounds: int = 4) -> tuple[Form, Scales]:
    """The scaled form without fixed variables, by Ruiz' simultaneous scaling of [[P, A', G'], [A, 0, 0], [G, 0, 0]]."""
    form, fixed = without_fixed(form)
    P, A, G = form.P.abs(), form.A.abs(), form.G.abs()
    D, E, F = torch.ones_like(form.q), torch.ones_like(form.b), torch.ones_like(form.h)
    for _ in range(rounds):
        scaled_P = D[..., :, None] * P * D[..., None, :]
        scaled_A = E[..., :, None] * A * D[..., None, :]
        scaled_G = F[..., :, None] * G * D[..., None, :]
        columns = torch.cat([scaled_P, scaled_A, scaled_G], -2)
        if columns.numel():
            D = D * _inverse_root(columns.amax(-2))
        E = E * _inverse_root(_row_largest(scaled_A))
        F = F * _inverse_root(_row_largest(scaled_G))
    P, q, A, G = (
        D[..., :, None] * form.P * D[..., None, :],
        D * form.q,
        E[..., :, None] * form.A * D[..., None, :],
        F[..., :, None] * form.G * D[..., None, :],
    )
    b, h, lower, upper = E * form.b, F * form.h, form.lower / D, form.upper / D
    curvature = _largest(P.flatten(1))
    newton = torch.where(curvature > 0, q / torch.where(curvature > 0, curvature, 1), 0)
    reach = _largest(newton, b, h, lower, upper, fixed / D)
    length = torch.where(reach > 0, reach, 1).clamp(1e-12, 1)
    steepness = _largest(curvature, q / length)
    cost = 1 / torch.where(steepness > 0, steepness, 1)
    scaled = Form(cost[..., None] * P, cost * q / length, A, b / length, G, h / length, lower / length, upper / length)
    return scaled, Scales(D, E, F, cost, length, fixed)


def restore(point: QPPoint, scales: Scales) -> QPPoint:
    """The point of the given data from that of the scaled form; multipliers of fixed variables are left to polish."""
    D, E, F, cost, length, fixed = scales
    force = length / cost
    return QPPoint(length * D * point.x + fixed, force * E * point.eq, force * F * point.ineq, force * point.bounds / D)


def in_scaled_units(point: QPPoint, scales: Scales) -> QPPoint:
    """The point of the scaled form from that of the given data: what `restore` undoes."""
    D, E, F, cost, length, fixed = scales
    force = cost / length
    return QPPoint(
        (point.x - fixed) / (length * D), force * point.eq / E, force * point.ineq / F, force * point.bounds * D
    )


def in_proportion(form: Form, point: QPPoint) -> Tensor:
    """Whether a point is of the size of the data, in the scaled units where the matrices are of size one; (B,).

    One that is not may be a ray, far out on which every residual is small beside the terms that it is a sum of.
    """
    scaled, scales = equilibrate(form)
    x, *pushes = in_scaled_units(point, scales)
    reach = _largest(scaled.b, scaled.h, scaled.lower, scaled.upper).clamp_min(1)
    slope = torch.maximum(reach, _largest(scaled.q))
    sensible: Tensor = (_largest(x) <= SENSIBLE * reach) & (_largest(*pushes) <= SENSIBLE * slope)
    return sensible[..., 0]


def _largest(*parts: Tensor) -> Tensor:
    """Largest finite magnitude over the last dimension of all parts, zero where there is none; (B, 1)."""
    entries = torch.cat([*parts, torch.zeros_like(parts[0].sum(-1, keepdim=True))], -1).abs()
    return torch.where(entries.isfinite(), entries, 0).amax(-1, keepdim=True)


def _row_largest(matrix: Tensor) -> Tensor:
    return matrix.amax(-1) if matrix.shape[-1] else matrix.sum(-1)


def _inverse_root(scale: Tensor) -> Tensor:
    """1/sqrt(scale), bounded, and one for a zero row."""
    return torch.where(scale > 0, scale.clamp(1e-8, 1e8), 1).rsqrt()
