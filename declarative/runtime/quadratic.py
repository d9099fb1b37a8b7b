"""The dense convex quadratic program, its KKT residual, and the active set that a solution is read by.

    minimise    1/2 x'Px + q'x
    subject to  Ax = b,    Gx <= h,    lower <= x <= upper

with the Lagrangian L = f(x) + nu'(Ax - b) + lambda'(Gx - h) + z'x, where z is the multiplier of the upper bound minus
the one of the lower. The residual F(w; theta) of w = (x, nu, lambda, z) states complementarity by the active set, so
that it divides by nothing, is linear in the point and in the units of the data:

    stationarity     (P + P')x / 2 + q + A'nu + G'lambda + z
    equality         Ax - b
    inequality       Gx - h            where the row is active,      lambda  elsewhere
    bounds           x - bound         where the bound is active,    z       elsewhere

A row is active where lambda > h - Gx. Its entry is then min(lambda, h - Gx) up to sign, zero exactly where the two are
complementary.

References: Boyd and Vandenberghe, Convex Optimization, 2004, section 5.5.3; Facchinei and Pang, Finite-Dimensional
Variational Inequalities and Complementarity Problems, 2003, section 1.5 (the natural map).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from declarative.runtime.conditions import Conditions, condition_number, rank_and_curvature, smallest_margin
from declarative.runtime.convexity import lack_of_convexity
from declarative.runtime.errors import InputError
from declarative.runtime.problem import Point, Problem, Stated
from declarative.runtime.status import Status

CORE_RANKS = {"P": 2, "q": 1, "A": 2, "b": 1, "G": 2, "h": 1, "lower": 1, "upper": 1}


class QPPoint(NamedTuple):
    """A KKT point of a quadratic program; a `Point` by itself."""

    x: Tensor
    """(*batch, n), the minimiser."""
    eq: Tensor
    """(*batch, p), nu, free in sign."""
    ineq: Tensor
    """(*batch, m), lambda >= 0, exactly zero on inactive rows."""
    bounds: Tensor
    """(*batch, n), z: positive at an upper bound, negative at a lower one."""

    @property
    def kkt(self) -> Point:
        """The point as `DenseQP` takes it, which is as it is."""
        return tuple(self)


class ActiveSet(NamedTuple):
    """Which inequalities hold with equality; boolean masks without gradient."""

    ineq: Tensor
    """(*batch, m)."""
    lower: Tensor
    """(*batch, n); never together with ``upper``."""
    upper: Tensor
    """(*batch, n)."""

    @property
    def bounds(self) -> Tensor:
        """(*batch, n), the variables that a bound fixes."""
        return self.lower | self.upper


class Units(NamedTuple):
    """What counts as one in a relative residual: the sizes that the data give to the terms of the stationarity
    condition, to x and to the rows, and one where they are larger or nothing is given; (*batch) each."""

    objective: Tensor
    variables: Tensor
    equalities: Tensor
    inequalities: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseQP(Problem):
    """A batch of dense convex quadratic programs.

    ``P`` (*batch, n, n) positive semidefinite, possibly zero, of which the symmetric part counts; ``q`` (*batch, n);
    ``A`` (*batch, p, n) and ``b`` (*batch, p); ``G`` (*batch, m, n) and ``h`` (*batch, m); ``lower`` and ``upper``
    (*batch, n). What is None is absent. Every tensor has its own batch dimensions, which broadcast. Entries of ``h``,
    ``lower`` and ``upper`` of 1e20 or more are no constraint, and lower == upper fixes a variable.

    Raises `InputError` where shapes disagree or one of a pair (A, b), (G, h) is missing.
    """

    P: Tensor
    q: Tensor
    A: Tensor | None = None
    b: Tensor | None = None
    G: Tensor | None = None
    h: Tensor | None = None
    lower: Tensor | None = None
    upper: Tensor | None = None
    _present: dict[str, Tensor] = field(init=False, repr=False)
    _tensors: tuple[Tensor, ...] = field(init=False, repr=False)
    notes: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    """What a solver keeps about these data for the backward pass, by its own names."""

    def __post_init__(self) -> None:
        present = {name: t for name, t in zip(CORE_RANKS, self.parts, strict=True) if t is not None}
        object.__setattr__(self, "_present", present)
        object.__setattr__(self, "_tensors", tuple(present.values()))
        n, dtype, device = self.q.shape[-1], self.q.dtype, self.q.device
        for left, right in (("A", "b"), ("G", "h")):
            if (left in present) != (right in present):
                raise InputError(f"{left} and {right} go together: give both or neither")
        p, m, vector = self.p, self.m, (n,)
        cores = {"P": (n, n), "A": (p, n), "b": (p,), "G": (m, n), "h": (m,)}
        for name, tensor in present.items():
            expected = cores.get(name, vector)
            if tensor.shape[-len(expected) :] != expected:
                raise InputError(f"{name} has shape {tuple(tensor.shape)}; its last dimensions must be {expected}")
            if tensor.dtype != dtype or tensor.device != device:
                raise InputError(
                    f"{name} is {tensor.dtype} on {tensor.device} and q is {dtype} on {device}: all data must agree"
                )

    @property
    def n(self) -> int:
        """Number of variables."""
        return self.q.shape[-1]

    @property
    def p(self) -> int:
        """Number of equality rows."""
        return 0 if self.b is None else self.b.shape[-1]

    @property
    def m(self) -> int:
        """Number of inequality rows, bounds apart."""
        return 0 if self.h is None else self.h.shape[-1]

    @property
    def parts(self) -> tuple[Tensor | None, ...]:
        """P, q, A, b, G, h, lower, upper."""
        return self.P, self.q, self.A, self.b, self.G, self.h, self.lower, self.upper

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self._tensors

    @property
    def core_ranks(self) -> tuple[int, ...]:
        return tuple(CORE_RANKS[name] for name in self._present)

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        if all(map(operator.is_, tensors, self._tensors)):
            return self
        return type(self)(**dict(zip(self._present, tensors, strict=True)))

    def point_sizes(self) -> tuple[int, ...]:
        return self.n, self.p, self.m, self.n

    def stated(self) -> Stated:
        return Stated("quadratic " + " ".join(self._present))

    @staticmethod
    def unpack(point: Point) -> QPPoint:
        """The point by the names of its parts."""
        return QPPoint(*point)

    def curvature_times(self, x: Tensor) -> Tensor:
        """(P + P')x / 2; (*batch, n)."""
        return (matvec(self.P, x) + matvec(self.P.mT, x)) / 2

    def residual(self, point: Point) -> Point:
        active = self.active_set(point)
        x, eq, ineq, bounds = point
        stationarity = self.curvature_times(x) + self.q + bounds
        feasibility, rows, box = eq.clone(), ineq.clone(), bounds.clone()
        if self.A is not None and self.b is not None:
            stationarity = stationarity + matvec(self.A.mT, eq)
            feasibility = matvec(self.A, x) - self.b
        if self.G is not None and self.h is not None:
            stationarity = stationarity + matvec(self.G.mT, ineq)
            rows = torch.where(active.ineq, matvec(self.G, x) - self.h, ineq)
        if self.lower is not None:
            box = torch.where(active.lower, x - self.lower, box)
        if self.upper is not None:
            box = torch.where(active.upper, x - self.upper, box)
        return stationarity, feasibility, rows, box

    def without_masks(self, point: Point) -> tuple[DenseQP, Point]:
        """Where q is plus infinity, and the multiplier of the lower bound too, both are replaced by finite numbers as
        large as any: a masked entry, which is at its lower bound and has nothing else to satisfy."""
        x, eq, ineq, bounds = point
        masked = (self.q == torch.inf) & (bounds == -torch.inf)
        slope = self.curvature_times(x)
        for matrix, multiplier in ((self.A, eq), (self.G, ineq)):
            slope = slope if matrix is None else slope + matvec(matrix.mT, multiplier)
        terms = torch.cat([torch.where(masked, 0, t) for t in (slope, bounds, self.q.expand_as(x))], -1)
        far = 1 + terms.abs().amax(-1, keepdim=True) if terms.shape[-1] else x
        given = dict(self._present, q=torch.where(masked, far - slope, self.q))
        return type(self)(**given), (x, eq, ineq, torch.where(masked, -far, bounds))

    def active_set(self, point: Point) -> ActiveSet:
        """The active inequalities at a point: those whose multiplier exceeds their slack, each relative to the largest
        of its kind, so that neither the objective's unit matters nor that of x.

        An inequality whose multiplier and slack are both zero to rounding (eps^(2/3) of the scale of the multipliers
        and of its row) is weakly active and counts as *inactive*: the derivative is the one towards the side where the
        row lets go, and a degenerate vertex keeps independent rows. A fixed variable is always active.
        """
        x, _, ineq, bounds = (t.detach() for t in point)
        unit, force = self._units(), self._multiplier_scale(x, ineq, bounds)
        none = torch.zeros_like(x, dtype=torch.bool)
        rows, lower, upper = torch.zeros_like(ineq, dtype=torch.bool), none, none
        if self.G is not None and self.h is not None:
            G, h = self.G.detach(), self.h.detach()
            reach = h.abs() + matvec(G.abs(), x.abs())
            rows = _active(ineq, h - matvec(G, x), (force, unit.objective), (reach, unit.inequalities))
        size = x.abs().amax(-1, keepdim=True) if self.n else x
        if self.lower is not None:
            low = self.lower.detach()
            lower = _active(-bounds, x - low, (force, unit.objective), (low.abs() + size, unit.variables))
        if self.upper is not None:
            high = self.upper.detach()
            upper = _active(bounds, high - x, (force, unit.objective), (high.abs() + size, unit.variables))
            if self.lower is not None:
                fixed = (self.lower == self.upper).detach()
                upper = (upper & ~lower) | (fixed & (bounds >= 0))
                lower = (lower | fixed) & ~upper
        return ActiveSet(rows, lower, upper)

    def _multiplier_scale(self, x: Tensor, ineq: Tensor, bounds: Tensor) -> Tensor:
        """(*batch, 1), the size of the terms of the stationarity condition."""
        terms = torch.cat([x * 0 + self.q.detach(), bounds, ineq], -1).abs()
        return terms.amax(-1, keepdim=True) if terms.shape[-1] else terms.sum(-1, keepdim=True)

    def relative_residual(self, point: Point) -> Tensor:
        """Largest violation of the KKT conditions, each relative to the terms it is a sum of; of complementarity the
        lesser of multiplier and slack, each in its unit; (*batch)."""
        x, eq, ineq, bounds = point
        unit, primal = self._units(), _largest(x)
        terms, slope = [self.curvature_times(x), self.q, bounds], self.curvature_times(x) + self.q + bounds
        worst = []
        if self.A is not None and self.b is not None:
            terms.append(matvec(self.A.mT, eq))
            slope = slope + terms[-1]
            reached = unit.equalities + _largest_of([self.b, matvec(self.A.abs(), x.abs())])
            worst.append(_largest(matvec(self.A, x) - self.b) / reached)
        slack, reached = torch.full_like(ineq, torch.inf), unit.inequalities
        if self.G is not None and self.h is not None:
            terms.append(matvec(self.G.mT, ineq))
            slope = slope + terms[-1]
            slack = self.h - matvec(self.G, x)
            reached = reached + _largest_of([_finite(self.h), matvec(self.G.abs(), x.abs())])
        dual = unit.objective + _largest_of(terms)
        worst += [_largest(slope) / dual, _largest((-ineq).clamp_min(0)) / dual]
        worst.append(_largest(_lesser(ineq / dual[..., None], slack / reached[..., None])))
        box, primal = bounds / dual[..., None], (unit.variables + primal)[..., None]
        if self.upper is not None:
            box = _lesser(box, (self.upper - x) / primal)
        if self.lower is not None:
            box = -_lesser(-box, (x - self.lower) / primal)
            if self.upper is not None:
                box = torch.where(self.lower == self.upper, (x - self.lower) / primal, box)
        return _elementwise_largest([*worst, _largest(box)])

    def _units(self) -> Units:
        P, A, G = (_largest_in(matrix, self.q) for matrix in (self.P, self.A, self.G))
        slope = _largest(self.q.detach())
        reached = [_ratio(slope, P)]
        reached += [_ratio(_largest(_finite(s)), M) for s, M in ((self.b, A), (self.h, G)) if s is not None]
        reached += [_largest(_finite(bound)) for bound in (self.lower, self.upper) if bound is not None]
        reach = _elementwise_largest(reached)
        units = torch.maximum(slope, P * reach), reach, A * reach, G * reach
        return Units(*(torch.where(u > 0, u, 1).clamp_max(1) for u in units))

    def remark(self, at: tuple[int, ...], status: Status) -> str:
        if status in (Status.INFEASIBLE, Status.NOT_FINITE):
            return ""
        return lack_of_convexity(self.P.expand(*self.batch_shape, self.n, self.n)[at])

    def complementarity(self, point: Point) -> tuple[Tensor, Tensor]:
        x, _, ineq, bounds = point
        multipliers, slacks = [ineq], []
        if self.G is not None and self.h is not None:
            slacks.append(self.h - matvec(self.G, x))
        fixed = None
        if self.lower is not None and self.upper is not None:
            fixed = self.lower == self.upper
        for bound, sign in ((self.lower, -1), (self.upper, 1)):
            if bound is not None:  # a fixed variable is an equality: its multiplier may have either sign
                slack = sign * (bound - x)
                multipliers.append((sign * bounds).clamp_min(0))
                slacks.append(slack if fixed is None else torch.where(fixed, torch.inf, slack))
            elif self.lower is not None or self.upper is not None:
                multipliers.append(torch.zeros_like(x))
                slacks.append(torch.full_like(x, torch.inf))
        if not slacks:
            return smallest_margin(ineq, ineq)
        batch = x.shape[:-1]
        return smallest_margin(torch.cat(multipliers, -1), torch.cat([s.expand(*batch, -1) for s in slacks], -1))

    def conditions(self, point: Point) -> Conditions:
        """The conditions of the implicit function theorem at a solution.

        Rows are numbered Gx <= h first (0 to m - 1), then the lower bounds (m to m + n - 1), then the upper ones. An
        instance whose point is NaN has NaN for margins.
        """
        with torch.no_grad():
            return _conditions(self, QPPoint(*(t.detach() for t in point)))


def matvec(matrix: Tensor, x: Tensor) -> Tensor:
    """M x over the batch; a matrix without batch dimensions is read once, and its gradient is one product."""
    if matrix.dim() == 2:
        return x @ matrix.mT
    return (matrix @ x[..., None])[..., 0]


def _active(multiplier: Tensor, slack: Tensor, force: tuple[Tensor, Tensor], reach: tuple[Tensor, Tensor]) -> Tensor:
    """``force`` (*batch, 1) and ``reach`` (*batch, k): the sizes of the terms that multipliers and slacks are sums of,
    and (*batch) what counts as one beside them."""
    weak = torch.finfo(slack.dtype).eps ** (2 / 3)
    weakly = (multiplier.abs() <= weak * force[0]) & (slack.abs() <= weak * reach[0])
    strong, far = force[0] + force[1][..., None], (_largest(_finite(reach[0])) + reach[1])[..., None]
    exceeds = multiplier * far > slack * strong
    active: Tensor = exceeds & ~weakly
    return active


def _lesser(multiplier: Tensor, slack: Tensor) -> Tensor:
    """The smaller of the two, also where it is negative."""
    return torch.where(multiplier > slack, slack, multiplier)


def _finite(values: Tensor) -> Tensor:
    values = values.detach()
    return torch.where(values.isfinite(), values, 0)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below, zero where nothing is below."""
    return torch.where(below > 0, above / below, 0)


def _largest_in(matrix: Tensor | None, like: Tensor) -> Tensor:
    """Largest magnitude of a matrix, (*batch); zero where it is absent or empty."""
    if matrix is None or not matrix.numel():
        return like.new_zeros(())
    return matrix.detach().abs().amax((-2, -1))


def _largest(part: Tensor) -> Tensor:
    """Largest magnitude over the last dimension; zero where it is empty."""
    return part.abs().amax(-1) if part.shape[-1] else part.sum(-1)


def _largest_of(terms: list[Tensor]) -> Tensor:
    """Largest entry of the terms; (*batch)."""
    return _elementwise_largest([_largest(t) for t in terms])


def _elementwise_largest(parts: list[Tensor]) -> Tensor:
    return functools.reduce(torch.maximum, parts)


def _conditions(problem: DenseQP, point: QPPoint) -> Conditions:
    x = point.x
    active, batch, n = problem.active_set(point), x.shape[:-1], problem.n
    hessian = ((problem.P + problem.P.mT) / 2).expand(*batch, n, n)
    solved = torch.cat(point, -1).isfinite().all(-1)
    hessian = torch.where(solved[..., None, None], hessian, torch.nan)
    rows = [torch.diag_embed(active.bounds.to(x.dtype))]
    if problem.A is not None:
        rows.append(problem.A.expand(*batch, *problem.A.shape[-2:]))
    if problem.G is not None:
        rows.append(torch.where(active.ineq[..., None], problem.G, 0))
    rank, curvature = rank_and_curvature(hessian, torch.cat(rows, -2))
    count = active.ineq.sum(-1) + active.bounds.sum(-1) + problem.p
    margin, row = problem.complementarity(point)
    return Conditions(
        licq_rank=rank,
        licq_rows=count,
        complementarity=margin,
        complementarity_row=row,
        second_order=curvature,
        kkt_residual=problem.relative_residual(point),
        adjoint_condition=condition_number(_full_matrix(hessian, torch.cat(rows, -2))),
    )


def _full_matrix(hessian: Tensor, rows: Tensor) -> Tensor:
    """[[P, C'], [C, 0]] with one on the diagonal of the empty rows of C."""
    empty = (rows == 0).all(-1).to(rows.dtype)
    return torch.cat([torch.cat([hessian, rows.mT], -1), torch.cat([rows, torch.diag_embed(empty)], -1)], -2)
