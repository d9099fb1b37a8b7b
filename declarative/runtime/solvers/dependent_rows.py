"""Equality rows of which some say again what others said, replaced by as many independent ones.

With the singular values of the scaled rows, A = U S V', those at rounding of the data's dtype are taken for zero and

    Ax = b   becomes   V'x = S^-1 U'b,      with   nu = U S^-1 nu~   for the multipliers,

the least-norm ones of the given rows. What of b lies outside the range of U is left aside: where the data was rounded
it is rounding too, and else the residual on the given rows tells it. Multipliers of nearly dependent rows would grow
without end as a solver tries to satisfy both.

Reference: Golub and Van Loan, Matrix Computations, 4th ed., 2013, section 5.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from declarative.runtime.quadratic import QPPoint, matvec
from declarative.runtime.solvers.standard_form import Form, Scales, equilibrate, restore


class Reduced(NamedTuple):
    """Instances of one rank: ``lanes`` (k) among those given, and their ``form``, scaled, with independent rows."""

    lanes: Tensor
    form: Form
    given: Form
    scales: Scales
    back: Tensor
    """(k, p, rank), from the multipliers of the independent rows to those of the scaled given ones."""

    def restored(self, point: QPPoint) -> QPPoint:
        """The point of the given form, from one of the reduced form."""
        point = restore(point._replace(eq=matvec(self.back, point.eq)), self.scales)
        fixed = self.given.lower == self.given.upper
        x, eq, ineq, bounds = point
        form = self.given
        force = matvec(form.P, x) + form.q + matvec(form.A.mT, eq) + matvec(form.G.mT, ineq)
        return point._replace(x=torch.where(fixed, form.lower, x), bounds=torch.where(fixed, -force, bounds))


def without_dependent_rows(form: Form, eps: float) -> Iterator[Reduced]:
    """The instances whose equality rows are dependent to a relative rounding of ``eps``, by their rank."""
    p, n = form.A.shape[-2:]
    if not p or not n:
        return
    scaled, scales = equilibrate(form)
    left, values, right = torch.linalg.svd(scaled.A, full_matrices=False)
    rank = (values > 10 * max(p, n) * eps * values[:, :1]).sum(-1)
    for size in rank[rank < p].unique().tolist():
        lanes = (rank == size).nonzero()[:, 0]
        back = left[lanes, :, :size] / values[lanes, None, :size]
        part = scaled.take(lanes)
        yield Reduced(
            lanes,
            part._replace(A=right[lanes, :size], b=matvec(back.mT, part.b)),
            form.take(lanes),
            Scales(*(t.index_select(0, lanes) for t in scales)),
            back,
        )
