"""The attempts at an answer to a batch of quadratic programs, each for what the ones before left without.

1. Interior-point steps to a loose stop, and the active set that they point at polished; then to a tight one.
2. Polishing from a basis of the rows that are nearly active, where degeneracy hides the active set.
3. The same with independent equality rows in the place of dependent ones.
4. Where that was asked for, since the data was rounded: the same with a little room at every inequality.

Rounding sets rows that depend on each other slightly against each other: equalities, and inequalities that meet in one
point. An answer to the letter of them has huge multipliers, if there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from declarative.runtime.quadratic import ActiveSet, QPPoint
from declarative.runtime.solvers.dependent_rows import without_dependent_rows
from declarative.runtime.solvers.multipliers import independent_active_set
from declarative.runtime.solvers.polish import polish
from declarative.runtime.solvers.primal_dual import Iterate, as_point, iterate
from declarative.runtime.solvers.standard_form import Form, equilibrate, loosened, restore

STOPS = (1e-7, 1e-10, 1e-13)
"""Relative residuals on the scaled data at which the steps end and polishing begins; the next one is for the instances
whose active set was not yet to be told at the one before."""
LOOSE = 1e-11
"""Relative residual above which a polished point is tried again."""
NEARLY = 1e-3
"""Relative residual up to which a point is near enough to a solution to tell the rows that may be active."""
MAY_BE_ACTIVE = (1e-5, 1e-8, 1e-10)
"""Slacks up to which rows are: wide where multiplier and slack vanish together, narrow where rows lie side by side."""


class Found(NamedTuple):
    """A point, its iterations (int32) and its relative residual before it is rounded, (B)."""

    point: QPPoint
    iterations: Tensor
    residual: Tensor

    def take(self, lanes: Tensor) -> Found:
        """The instances at the indices ``lanes``."""
        return Found(QPPoint(*(t[lanes] for t in self.point)), self.iterations[lanes], self.residual[lanes])


@final
@dataclass(frozen=True)
class Attempts:
    """Answers to data that was rounded to ``dtype``, in which they will be returned, by at most ``max_iterations``
    steps an attempt. All arithmetic is float64."""

    dtype: torch.dtype
    max_iterations: int

    @property
    def eps(self) -> float:
        """The relative rounding of the data."""
        return torch.finfo(self.dtype).eps

    def answer(self, form: Form) -> Found:
        """The best point of every instance."""
        found = self._to(STOPS[0], form)
        for stop in STOPS[1:]:
            lanes = self._left(form, found)
            if not lanes.numel():
                return found
            part = form.take(lanes)
            found = self._better(found, lanes, part, self._to(stop, part))
        for slack in MAY_BE_ACTIVE:
            lanes = self._left(form, found, NEARLY)
            if not lanes.numel():
                break
            part = form.take(lanes)
            found = self._better(found, lanes, part, self._on_a_basis(part, found.take(lanes), slack))
        lanes = self._left(form, found)
        for reduced in without_dependent_rows(form.take(lanes), self.eps):
            again = self.answer(reduced.form)
            again = again._replace(point=reduced.restored(again.point))
            found = self._better(found, lanes[reduced.lanes], reduced.given, again)
        return found

    def with_room(self, form: Form, found: Found) -> Found:
        """The best point of every instance where an inequality may be off by the rounding of the data."""
        wide = loosened(form, found.point.x, 10 * self.eps)
        return self._better(found, torch.arange(len(form.q), device=form.q.device), form, self.answer(wide))

    def rounded(self, point: QPPoint) -> QPPoint:
        """The point as it will be returned."""
        return QPPoint(*(t.to(self.dtype).to(torch.float64) for t in point))

    def _left(self, form: Form, found: Found, below: float = torch.inf) -> Tensor:
        """Indices of the instances of a residual below ``below`` that another attempt may improve, once rounded too."""
        left = found.residual > max(LOOSE, self.eps)
        if self.eps > LOOSE:
            left = left | (self._residual(form, found.point) > 20 * self.eps)
        return (left & (found.residual < below)).nonzero()[:, 0]

    def _to(self, stop: float, form: Form) -> Found:
        """Where steps down to the scaled residual ``stop``, and polishing, lead."""
        scaled, scales = equilibrate(form)
        ended = iterate(scaled, stop, self.max_iterations)
        point, residual = polish(form, restore(as_point(scaled, ended.iterate), scales), _guess(form, ended.iterate))
        return Found(point, ended.iterations, residual)

    def _on_a_basis(self, form: Form, found: Found, slack: float) -> Found:
        """Where the linear system of a basis of the nearly active inequalities leads."""
        point, residual = polish(form, found.point, independent_active_set(form, found.point, slack))
        return Found(point, found.iterations, residual)

    def _better(self, found: Found, lanes: Tensor, form: Form, other: Found) -> Found:
        """What was found, with what another attempt found for the instances ``form`` at ``lanes`` where it is better
        once it is rounded."""
        old = found.take(lanes).point
        better = self._residual(form, other.point) < self._residual(form, old)
        best = QPPoint(*(torch.where(better[:, None], b, a) for a, b in zip(old, other.point, strict=True)))
        return Found(
            QPPoint(*(p.index_copy(0, lanes, b) for p, b in zip(found.point, best, strict=True))),
            found.iterations.index_copy(0, lanes, other.iterations),
            found.residual.index_copy(0, lanes, form.as_problem().relative_residual(best)),
        )

    def _residual(self, form: Form, point: QPPoint) -> Tensor:
        error = form.as_problem().relative_residual(self.rounded(point))
        return torch.where(error.isnan(), torch.inf, error)


def _guess(form: Form, point: Iterate) -> ActiveSet:
    """The inequalities whose multiplier exceeds their slack on the scaled data."""
    m, n = form.h.shape[-1], form.q.shape[-1]
    finite = torch.cat([form.h, form.upper, form.lower], -1).isfinite()
    over = (point.dual > point.slack) & finite
    upper, lower = over[:, m : m + n], over[:, m + n :]
    stronger = point.dual[:, m : m + n] >= point.dual[:, m + n :]
    return ActiveSet(over[:, :m], lower & ~(upper & stronger), upper & ~(lower & ~stronger))
