"""One scalar root for entropies and powers under a row: which multiplier t makes the entries add up.

    y_i = clip(phi(z_i - t d_i), l_i, u_i),    least <= sum_i a_i y_i <= most,    a_i d_i >= 0,  l_i >= 0

where phi inverts the marginal f' of f(y) = y log y (exponent 1) or f(y) = y^p (1 < p < 2):

    f'(y) = log y + 1,  phi(z) = exp(z - 1)        or        f'(y) = p y^(p-1),  phi(z) = (max(z, 0) / p)^(1/(p-1)).

With z = c/w and d = a/w these are the optimality conditions of minimise sum_i w_i f(y_i) - c'y under the row and the
bounds: t is the multiplier of the row, positive where the sum is at most, negative where it is at least.

The sum g(t) does not increase. Split by the signs of a into P - N, it meets a level b where

    h(t) = log(P + max(-b, 0)) - log(N + max(b, 0)) = 0,

which is linear in t for a softmax and nearly so elsewhere: a safeguarded Newton iteration in a bracket finds t. Of a
large t the rounding alone may move the sum: where it does, t = c + t' with the pivot c the z_i/d_i nearest to the root,
and t' is the root for z - c d, whose entries near the root are small and lose no digits. Let F
be the entries off their bounds there. By the implicit function theorem on g(t; theta) = b over a fixed F

    dt = (sum_i a_i dy_i|_t - db) / sum_F a_i d_i phi'(z_i - t d_i),

where an entry held by its bound has dy_i|_t = du_i or dl_i. Two Newton steps at the root that are differentiated say
so to autograd: the first gives dt, both together all derivatives up to the third. An entry exactly at its bound with a
zero multiplier (weakly active) counts as off it; a row met exactly at t = 0 counts as inactive.

Reference: Blondel, Martins and Niculae, Learning with Fenchel-Young losses, 2020, section 4 (these entries and their
root); Boyd and Vandenberghe, Convex Optimization, 2004, section 5.5.3; Gilbert, Automatic differentiation and iterative
processes, 1992.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from declarative.runtime.search import search
from declarative.runtime.transforms import values_are_hidden

Values = Tensor | float

DOUBLINGS, STEPS = 64, 100

MUCH = 16
"""How many times its own rounding the sum at a root may be off, or the root needs a pivot."""


@dataclass(frozen=True)
class Curve:
    """f(y) = y log y on y >= 0 for the exponent 1, y^p for an exponent p between 1 and 2."""

    exponent: float = 1.0

    def entries(self, z: Tensor) -> Tensor:
        """phi(z), where the marginal is z."""
        if self.exponent == 1.0:
            return torch.exp(z - 1)
        inside = z > 0
        base = torch.where(inside, z, 1) / self.exponent
        return torch.where(inside, base ** (1 / (self.exponent - 1)), 0)

    def marginal(self, y: Tensor) -> Tensor:
        """f'(y)."""
        return torch.log(y) + 1 if self.exponent == 1.0 else self.exponent * y ** (self.exponent - 1)

    def slopes(self, y: Tensor) -> Tensor:
        """phi'(z) at y = phi(z), which is 1 / f''(y)."""
        if self.exponent == 1.0:
            return y
        inside = y > 0
        root = torch.where(inside, torch.where(inside, y, 1) ** (2 - self.exponent), 0)
        return root / (self.exponent * (self.exponent - 1))


class Spent(NamedTuple):
    """The entries, the multiplier of the row, and those of the bounds per unit of the curve's weight."""

    y: Tensor
    """(*batch, n)."""
    t: Tensor
    """(*batch, 1)."""
    rest: Tensor
    """(*batch, n), z - t d - f'(y): positive at an upper bound, negative at a lower one, zero at y = 0.

    At an upper bound of zero an entropy, whose slope is infinite there, has no finite multiplier: it is +inf.
    """


class _Row(NamedTuple):
    """Everything as (*batch, n); ``least`` and ``most`` (*batch, 1)."""

    z: Tensor
    weights: Tensor
    slopes: Tensor
    lower: Tensor
    upper: Tensor
    least: Tensor
    most: Tensor

    def entries(self, curve: Curve, t: Tensor) -> Tensor:
        """y(t)."""
        return torch.minimum(torch.maximum(curve.entries(self.z - t * self.slopes), self.lower), self.upper)

    def limits(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest sum of the entries whatever t; (*batch, 1)."""
        rising, masked = self.weights > 0, self.z == -torch.inf
        last = torch.where(rising | masked, self.lower, self.upper)
        first = torch.where(rising & ~masked, self.upper, self.lower)
        return _dot(self.weights, last), _dot(self.weights, first)

    def without_nothing(self) -> _Row:
        """Levels of zero that leave nothing to any entry a little higher: an entropy has its multiplier and its
        derivatives there as the limit from above."""
        nothing = self.limits()[0].detach() == 0
        tiny = nothing.to(self.z.dtype) * math.sqrt(torch.finfo(self.z.dtype).tiny)
        least, most = (torch.where(level == 0, level + tiny, level) for level in (self.least, self.most))
        return self._replace(least=least, most=most)

    def nearest(self, t: Tensor) -> Tensor:
        """z_i/d_i of the entry that is the nearest to zero at t; (*batch, 1)."""
        reaches = (self.slopes != 0) & self.z.isfinite()
        distances = torch.where(reaches, (self.z - t * self.slopes).abs(), torch.inf)
        ratios = torch.where(reaches, self.z / torch.where(reaches, self.slopes, 1), 0)
        return ratios.gather(-1, distances.argmin(-1, keepdim=True))

    def moved(self, pivot: Tensor) -> _Row:
        """The row of the offsets from a pivot."""
        return self._replace(z=self.z - pivot * self.slopes)

    def ends(self, curve: Curve) -> tuple[Tensor, Tensor]:
        """The t up to which all entries are where they are at minus infinity, and from which as at plus infinity."""
        moving = self.slopes != 0
        slopes = torch.where(moving, self.slopes, 1)
        met = torch.stack([(self.z - curve.marginal(bound)) / slopes for bound in (self.upper, self.lower)])
        furthest = torch.finfo(self.z.dtype).max / 4
        first = torch.where(moving, met.amin(0), torch.inf).amin(-1, keepdim=True)
        last = torch.where(moving, met.amax(0), -torch.inf).amax(-1, keepdim=True)
        return first.clamp(-furthest, furthest), last.clamp(-furthest, furthest)


def curve_to_level(
    z: Tensor,
    most: Values,
    *,
    exponent: float = 1.0,
    least: Values | None = None,
    weights: Values = 1.0,
    slopes: Values | None = None,
    lower: Values = 0.0,
    upper: Values = math.inf,
) -> Spent:
    """y = clip(phi(z - t * slopes), lower, upper) with least <= sum(weights * y) <= most, and t (*batch, 1).

    ``z`` (*batch, n); ``weights``, ``slopes`` (by default the weights), ``lower`` and ``upper`` (*batch, n) or numbers,
    ``most`` and ``least`` (*batch, 1) or numbers; their batch dimensions broadcast. Without ``least`` the sum is equal
    to ``most``; ``least=-math.inf`` leaves it free below. t is zero where the row does not bind. Entries are never
    negative, whatever ``lower``, and where z is minus infinity they are masked, at ``lower``. Where no y satisfies the
    row, NaN in the instance. Differentiable three times.
    """
    curve, equality = Curve(exponent), least is None
    floor = most if least is None else least
    row = _filled(z, weights, weights if slopes is None else slopes, lower, upper, floor, most)
    if not z.shape[-1]:
        t = torch.where((row.least <= 0) & (row.most >= 0), torch.zeros_like(row.most), torch.nan)
        return Spent(row.z, t, row.z)
    if exponent == 1.0:
        row = row.without_nothing()
    fixed = _Row(*(part.detach() for part in row))
    with torch.no_grad():
        pivot, root, level_is_most, active, feasible = _root(curve, fixed, equality)
        fixed = fixed.moved(pivot)
        at = fixed.z - root * fixed.slopes
        shares = curve.entries(at)
        free = (shares >= fixed.lower) & (shares <= fixed.upper) & (fixed.lower < fixed.upper)
        above = ~free & (shares >= fixed.upper)
        slope = (fixed.weights * fixed.slopes * curve.slopes(torch.where(free, shares, 0))).sum(-1, keepdim=True)
        determined = active & feasible & (slope > 0)
        below = ~free & ~above & (fixed.lower > 0)
    row, level = row.moved(pivot), torch.where(level_is_most, row.most, row.least)
    held = torch.where(above, row.upper, row.lower)

    def entries(t: Tensor) -> Tensor:
        return torch.where(free, curve.entries(torch.where(free, row.z - t * row.slopes, 0)), held)

    t = root
    for _ in range(2):
        y = entries(t)
        change = torch.where(free, row.weights * row.slopes * curve.slopes(torch.where(free, y, 1)), 0)
        excess = (row.weights * y).sum(-1, keepdim=True) - level
        fall = torch.where(determined, change.sum(-1, keepdim=True), 1)
        t = torch.where(determined, t + excess / fall, root)
    y = entries(t)
    gap = row.z - t * row.slopes - curve.marginal(torch.where(above | below, held, 1))
    rest = torch.where(above, gap.clamp_min(0), torch.where(below, gap.clamp_max(0), 0))
    y, t, rest = (torch.where(feasible, part, torch.nan) for part in (y, pivot + t, rest))
    return Spent(y, t, rest)


def _root(curve: Curve, row: _Row, equality: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The pivot and the offset whose sum is t, whether the level is ``most`` rather than ``least``, where the row
    binds, and where it can; (*batch, 1)."""
    smallest, largest = row.limits()
    feasible = (smallest <= row.most + _rounding(row.most, smallest)) & (
        largest >= row.least - _rounding(row.least, largest)
    )
    feasible &= (row.least <= row.most) & ((row.lower <= row.upper) & (row.z < torch.inf)).all(-1, keepdim=True)
    at_zero = _dot(row.weights, row.entries(curve, torch.zeros_like(row.most)))
    level_is_most = torch.ones_like(feasible) if equality else ~(at_zero < row.least)
    active = torch.ones_like(feasible) if equality else (at_zero > row.most) | (at_zero < row.least)
    level = torch.where(level_is_most, row.most, row.least)
    lowest = level <= smallest + _rounding(level, smallest)
    sought = active & feasible & ~lowest & (level < largest - _rounding(level, largest))
    first, last = row.ends(curve)
    at_end = torch.where(lowest, last, first)
    pivot, found = _search(level.new_tensor(curve.exponent), *row, level, sought)
    offset = torch.where(sought, found, torch.where(active & feasible, at_end, 0))
    return torch.where(sought, pivot, 0), offset, level_is_most, active, feasible


def _root_like(exponent: Tensor, *row_level_and_sought: Tensor) -> tuple[Tensor, Tensor]:
    *_, level, _ = row_level_and_sought
    return torch.empty_like(level), torch.empty_like(level)


@search(_root_like)
def _search(exponent: Tensor, *row_level_and_sought: Tensor) -> tuple[Tensor, Tensor]:
    """Where the sum of the entries of a row is the level, for the instances sought, as a pivot, zero where it needs
    none, and an offset; (*batch, 1)."""
    *parts, level, sought = row_level_and_sought
    curve, row = Curve(float(exponent)), _Row(*parts)
    t = _newton(curve, row, level, sought)
    y = row.entries(curve, t)
    off = (_dot(row.weights, y) - level).abs()
    size = level.abs() + _dot(row.weights.abs(), y)
    rough = sought & ~(off <= MUCH * torch.finfo(t.dtype).eps * size)
    if not values_are_hidden(rough) and not bool(rough.any()):
        return torch.zeros_like(t), t
    pivot = torch.where(rough, row.nearest(t), 0)
    return pivot, torch.where(rough, _newton(curve, row.moved(pivot), level, rough), t)


def _newton(curve: Curve, row: _Row, level: Tensor, sought: Tensor) -> Tensor:
    """The root from a bracket around zero; (*batch, 1)."""
    taken, given = row.weights.clamp_min(0), (-row.weights).clamp_min(0)
    credit, debit = (-level).clamp_min(0), level.clamp_min(0)

    def excess(t: Tensor) -> tuple[Tensor, Tensor]:
        """h and its slope."""
        inner = curve.entries(row.z - t * row.slopes)
        y = torch.minimum(torch.maximum(inner, row.lower), row.upper)
        change = torch.where(y == inner, row.slopes * curve.slopes(y), 0)
        plus, minus = _dot(taken, y) + credit, _dot(given, y) + debit
        slope = -_dot(taken, change) / plus + _dot(given, change) / minus
        return plus.log() - minus.log(), slope

    t = torch.zeros_like(level)
    value, _ = excess(t)
    farthest = torch.where(row.z.isfinite() & (row.slopes != 0), (row.z / row.slopes).abs(), 0)
    low, high, step = t, t, (farthest.amax(-1, keepdim=True) / 2**20).clamp(1, torch.finfo(t.dtype).max / 2**70)
    for _ in range(DOUBLINGS):
        up, down = sought & (excess(high)[0] > 0), sought & ~(excess(low)[0] >= 0)
        if not values_are_hidden(up) and not bool((up | down).any()):
            break
        low, high = (
            torch.where(up, high, torch.where(down, low - step, low)),
            torch.where(up, high + step, torch.where(down, low, high)),
        )
        step = 2 * step
    t = torch.where(value > 0, low, high)
    for _ in range(STEPS):
        value, slope = excess(t)
        low, high = torch.where(value > 0, t, low), torch.where(value > 0, high, t)
        step = t - value / torch.where(slope < 0, slope, -1)
        moved = torch.where((step > low) & (step < high) & (slope < 0), step, (low + high) / 2)
        scale = torch.maximum(low.abs(), high.abs()).clamp_min(torch.finfo(t.dtype).tiny)
        settled = ~sought | ((moved - t).abs() <= 2 * torch.finfo(t.dtype).eps * scale)
        t = moved
        if not values_are_hidden(settled) and bool(settled.all()):
            break
    return t


def _filled(z: Tensor, *parts: Values) -> _Row:
    *entries, least, most = (p if isinstance(p, Tensor) else z.new_full((1,), p) for p in parts)
    batch = torch.broadcast_shapes(z.shape[:-1], *(p.shape[:-1] for p in (*entries, least, most)))  # type: ignore[no-untyped-call]
    weights, slopes, lower, upper = (t.expand(*batch, z.shape[-1]) for t in entries)
    lower = lower.clamp_min(0)
    return _Row(
        z.expand(*batch, z.shape[-1]), weights, slopes, lower, upper, least.expand(*batch, 1), most.expand(*batch, 1)
    )


def _dot(a: Tensor, y: Tensor) -> Tensor:
    """a'y where an entry without weight counts nothing, infinite as it may be; (*batch, 1)."""
    return torch.where(a == 0, 0, a * y).sum(-1, keepdim=True)


def _rounding(level: Tensor, limit: Tensor) -> Tensor:
    """What the level and a limit of the sum, each itself a sum, may be off by; (*batch, 1)."""
    sizes = [torch.where(part.isfinite(), part, 0).abs() for part in (level, limit)]
    return 8 * torch.finfo(level.dtype).eps * (sizes[0] + sizes[1])
