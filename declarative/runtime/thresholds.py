"""The one scalar root behind projections with a coupling row: which multiplier t makes the clipped entries add up.

    y_i = clip(v_i - t d_i, l_i, u_i),    sum_i a_i y_i = b  (or <= b, with t >= 0),    a_i d_i >= 0

These are the optimality conditions of minimise sum_i p_i/2 (y_i - v_i)^2 subject to a'y = b, l <= y <= u, for d = a/p.
The left side g(t) is piecewise linear and does not increase, and its breakpoints are where an entry meets a bound. A
binary search over the sorted breakpoints evaluates g some log2(2n) times and ends between two neighbours, where g is
linear: t is then exact, with F the entries off their bounds,

    t = (sum_F a_i v_i + sum_not-F a_i y_i - b) / sum_F a_i d_i.

This formula over a fixed F is what is differentiated, so derivatives of every order are those of the solution. An entry
exactly at its bound with a zero multiplier (weakly active) counts as off it. One whose v is minus infinity is masked:
it stays at its lower bound, and has no gradient.

Of a large t the rounding alone may move the sum: where it does, t = c + t' with the pivot c the v_i/d_i nearest to the
root, and t' is the root for v - c d, whose entries near the root are small and lose no digits.

On the CPU a compiled kernel finds the root without a sort and fuses the pullback; elsewhere, under torch.func and under
a compiler it is the search below.

Reference: Held, Wolfe and Crowder, Validation of subgradient optimization, 1974; Kiwiel, Breakpoint searching
algorithms for the continuous quadratic knapsack problem, 2008.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from declarative.runtime.native import coupling_row
from declarative.runtime.transforms import values_are_hidden

Bounds = Tensor | float

MUCH = 64
"""How many times the sum's own rounding that of t may move it."""


class Clipped(NamedTuple):
    """The entries and the multiplier of the row."""

    y: Tensor
    """(*batch, n)."""
    t: Tensor
    """(*batch, 1)."""


class _Row(NamedTuple):
    """Everything as (*batch, n); ``level`` (*batch, 1)."""

    v: Tensor
    weights: Tensor
    slopes: Tensor
    lower: Tensor
    upper: Tensor
    level: Tensor

    def entries(self, t: Tensor) -> Tensor:
        """y(t)."""
        return (self.v - t * self.slopes).clamp(self.lower, self.upper)

    def sum_at(self, t: Tensor) -> Tensor:
        """g(t); (*batch, 1)."""
        return (self.weights * self.entries(t)).sum(-1, keepdim=True)

    def can_hold(self) -> Tensor:
        """Whether v and the bounds leave every entry a finite place; (*batch, 1)."""
        placed = (self.v < torch.inf) & ((self.v > -torch.inf) | (self.lower > -torch.inf))
        return (placed & (self.lower <= self.upper)).all(-1, keepdim=True)

    def limits(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest g(t), as t goes to plus and minus infinity; (*batch, 1)."""
        still = self.v.clamp(self.lower, self.upper)
        given = self.v > -torch.inf
        up, down = (self.slopes > 0) & given, (self.slopes < 0) & given
        last = torch.where(up, self.lower, torch.where(down, self.upper, still))
        first = torch.where(up, self.upper, torch.where(down, self.lower, still))
        return _dot(self.weights, last), _dot(self.weights, first)


def clip_to_level(
    v: Tensor,
    level: Bounds,
    *,
    weights: Bounds = 1.0,
    slopes: Bounds | None = None,
    lower: Bounds = -math.inf,
    upper: Bounds = math.inf,
    at_most: bool = False,
) -> Clipped:
    """y = clip(v - t * slopes, lower, upper) and t (*batch, 1) with sum(weights * y) == level.

    ``v`` (*batch, n); ``weights``, ``slopes`` (by default the weights), ``lower`` and ``upper`` (*batch, n) or numbers,
    ``level`` (*batch, 1) or a number; their batch dimensions broadcast. With ``at_most`` the sum is <= level, t >= 0.
    Where no y satisfies the row, NaN in the instance. Differentiable to any order.
    """
    given = coupling_row.Row(v, weights, weights if slopes is None else slopes, lower, upper, level)
    if coupling_row.serves(given):
        return Clipped(*coupling_row.solve(given, at_most))
    row = _filled(*given)
    fixed = _Row(*(part.detach() for part in row))
    with torch.no_grad():
        smallest, largest = fixed.limits()
        allowance = _rounding(fixed)
        feasible = (smallest <= fixed.level + allowance) & fixed.can_hold()
        active = fixed.sum_at(torch.zeros_like(fixed.level)) > fixed.level
        if not at_most:
            active = torch.ones_like(active)
            feasible = feasible & (largest >= fixed.level - allowance)
        root, inside = _root(fixed)
        pivot = torch.where(active, _pivot(fixed, root, inside), 0)
        if values_are_hidden(pivot) or bool((pivot != 0).any()):
            fixed = fixed._replace(v=fixed.v - pivot * fixed.slopes)
            root, inside = _root(fixed)
        root = torch.where(active, root, 0)
        at = fixed.v - root * fixed.slopes
        free = (at >= fixed.lower) & (at <= fixed.upper)
        free = (free | (inside & active)) & (fixed.lower < fixed.upper)
        at_lower = at - fixed.lower <= fixed.upper - at
    held = torch.where(at_lower, row.lower, row.upper)
    slope = (row.weights * row.slopes * free).sum(-1, keepdim=True)
    determined = active & (slope > 0)
    moved = row.v - pivot * row.slopes
    excess = (row.weights * torch.where(free, moved, held)).sum(-1, keepdim=True) - row.level
    t = torch.where(determined, excess / torch.where(determined, slope, 1), root)
    t = torch.where(feasible, t, torch.nan)
    y = torch.where(feasible, torch.where(free, moved - t * row.slopes, held), torch.nan)
    return Clipped(y, pivot + t)


def clip_between_levels(
    v: Tensor,
    least: Bounds,
    most: Bounds,
    *,
    weights: Bounds = 1.0,
    slopes: Bounds | None = None,
    lower: Bounds = -math.inf,
    upper: Bounds = math.inf,
) -> Clipped:
    """y and t as `clip_to_level` has them, with least <= sum(weights * y) <= most.

    t is positive where the sum is held at ``most``, negative where at ``least``, and zero between. ``least`` and
    ``most`` are (*batch, 1) or numbers. Where no y satisfies both, NaN in the instance. Differentiable to any order; a
    level met exactly at t = 0 counts as not binding.
    """
    row = _filled(v, weights, weights if slopes is None else slopes, lower, upper, most)
    floor = (least if isinstance(least, Tensor) else v.new_full((1,), least)).expand(row.level.shape)
    with torch.no_grad():
        still = row.sum_at(torch.zeros_like(row.level))
        over, under = still > row.level, still < floor
    level = torch.where(over, row.level, torch.where(under, floor, still))
    level = torch.where(floor <= row.level, level, torch.nan)
    y, t = clip_to_level(v, level, weights=weights, slopes=slopes, lower=lower, upper=upper)
    idle = ~over & ~under & ~y.isnan().any(-1, keepdim=True)
    return Clipped(torch.where(idle, row.v.clamp(row.lower, row.upper), y), torch.where(idle, 0, t))


def _root(row: _Row) -> tuple[Tensor, Tensor]:
    """t with g(t) = level, (*batch, 1), and the entries that are off their bounds around it, (*batch, n)."""
    moving = row.slopes != 0
    slopes = torch.where(moving, row.slopes, 1)
    ends = torch.stack([(row.v - row.upper) / slopes, (row.v - row.lower) / slopes])
    enters, leaves = torch.where(moving, ends.amin(0), -torch.inf), torch.where(moving, ends.amax(0), torch.inf)
    edge = torch.full_like(row.level, torch.inf)
    points = torch.cat([-edge, torch.cat([enters, leaves], -1).sort(-1).values, edge], -1)
    below = torch.zeros_like(row.level, dtype=torch.int64)
    above = below + points.shape[-1] - 1
    for _ in range(math.ceil(math.log2(points.shape[-1]))):
        middle = (below + above) // 2
        t = points.gather(-1, middle)
        still_over = (row.sum_at(torch.where(t.isfinite(), t, 0)) >= row.level) & t.isfinite() | (t == -torch.inf)
        below, above = torch.where(still_over, middle, below), torch.where(still_over, above, middle)
    left, right = points.gather(-1, below), points.gather(-1, below + 1)
    inside = moving & (enters <= left) & (leaves >= right)
    slope = (row.weights * row.slopes * inside).sum(-1, keepdim=True)
    start = torch.where(left.isfinite(), left, torch.where(right.isfinite(), right, 0))
    over = row.sum_at(start) - row.level
    # Where nothing is inside, the sum jumps: the breakpoints of an entry are one number by rounding.
    between = torch.where(right.isfinite(), start + (right - start) / 2, start)
    jump = torch.where((over > 0) & (row.sum_at(between) > row.level) & right.isfinite(), right, start)
    return torch.where(slope > 0, start + over / torch.where(slope > 0, slope, 1), jump).clamp(left, right), inside


def _pivot(row: _Row, root: Tensor, inside: Tensor) -> Tensor:
    """The pivot of the rows whose root is too large for its rounding, zero for the others; (*batch, 1)."""
    if not row.v.shape[-1]:
        return torch.zeros_like(root)
    products = row.weights * row.slopes
    slope = (products * inside).sum(-1, keepdim=True)
    slope = torch.where(slope > 0, slope, products.sum(-1, keepdim=True))
    size = row.level.abs() + _dot(row.weights.abs(), row.entries(root).abs())
    reaches = (row.slopes != 0) & row.v.isfinite()
    distances = torch.where(reaches, (row.v - root * row.slopes).abs(), torch.inf)
    nearest = distances.argmin(-1, keepdim=True)
    ratios = torch.where(reaches, row.v / torch.where(reaches, row.slopes, 1), 0)
    return torch.where(root.isfinite() & (root.abs() * slope > MUCH * size), ratios.gather(-1, nearest), 0)


def _filled(v: Tensor, *parts: Bounds) -> _Row:
    *entries, level = (p if isinstance(p, Tensor) else v.new_full((1,), p) for p in parts)
    batch = torch.broadcast_shapes(v.shape[:-1], *(p.shape[:-1] for p in (*entries, level)))  # type: ignore[no-untyped-call]
    weights, slopes, lower, upper = (t.expand(*batch, v.shape[-1]) for t in entries)
    return _Row(v.expand(*batch, v.shape[-1]), weights, slopes, lower, upper, level.expand(*batch, 1))


def _dot(a: Tensor, y: Tensor) -> Tensor:
    """a'y where an entry without weight counts nothing, infinite as it may be; (*batch, 1)."""
    return torch.where(a == 0, 0, a * y).sum(-1, keepdim=True)


def _rounding(row: _Row) -> Tensor:
    """What the sum of the bounds may be off by; (*batch, 1)."""
    terms = [torch.where(b.isfinite(), row.weights * b, 0).abs().sum(-1, keepdim=True) for b in (row.lower, row.upper)]
    eps = torch.finfo(row.v.dtype).eps
    return 4 * eps * (terms[0] + terms[1] + row.level.abs())
