"""What a closed form's answer is worth: its residual, and whether it may be called solved.

A closed form is not iterated, so that nothing in it tells how well its answer solves the problem. Where numbers of very
different sizes meet, rounding may have taken it away from every solution. Here the KKT residual of the answer is
measured as that of an iterative solver is, and an answer whose residual is beyond the root of the machine's precision,
which rounding of the data does not explain, is told as inaccurate; one without a residual as not finite. Where an
argument is infinite a right answer may have no residual: a limit, such as a score beyond a bound, is left as it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from declarative.runtime.binding import all_finite
from declarative.runtime.problem import Point, Problem, Solved
from declarative.runtime.pullback import usable
from declarative.runtime.status import Status

REMARKS = {
    Status.INACCURATE: "the closed form's answer breaks the conditions of a solution by more than rounding of the data "
    "explains; numbers this large or this far apart are beyond the precision of their dtype",
    Status.NOT_FINITE: "an argument is NaN or infinite, or the data is so large that its dtype overflows",
}
"""What a status says of an answer that was refuted."""

if TYPE_CHECKING:
    from declarative.runtime.binding import Bound
    from declarative.runtime.layer import Layer


def posed(layer: Layer, bound: Bound, point: Point) -> tuple[Problem, Point]:
    """The problem that a closed form has solved, and its point as that problem takes it."""
    kkt = layer.specialised(bound.sizes).point_type(*point).kkt
    return layer._problem(bound).without_masks(kkt)


def violation(layer: Layer, bound: Bound, point: Point) -> Tensor:
    """By how much an answer breaks the conditions of a solution, relative; (*batch)."""
    with torch.no_grad():
        problem, kkt = posed(layer, bound, point)
        return problem.relative_residual(kkt).expand(bound.batch)


def explained(residual: Tensor) -> Tensor:
    """Whether rounding explains a residual, which NaN is not; (*batch)."""
    return residual <= math.sqrt(torch.finfo(residual.dtype).eps)


def verified(layer: Layer, bound: Bound, solved: Solved) -> Solved:
    """The answer of a closed form with its residual, and a status that stands up to it."""
    residual = violation(layer, bound, solved.point)
    refuted = torch.where(residual.isfinite(), int(Status.INACCURATE), int(Status.NOT_FINITE))
    a_limit = residual.isnan() & ~all_finite(bound)
    verdict = torch.where(explained(residual) | a_limit, int(Status.SOLVED), refuted)
    status = torch.where(usable(solved.status), verdict, solved.status).to(torch.int8)
    return Solved(solved.point, status, solved.iterations, residual)
