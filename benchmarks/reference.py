"""The exact answer to a case, and certificates that it is exact.

Quadratic programs are solved by the package's torch solver in float64, which ends with the linear system of the active
set. Two things are asked of the result that share no code with it: that the point satisfies the KKT conditions (for a
strictly convex program they hold at the solution only) and that the gradients are those of `kkt.pull_back`. Where DAQP
is installed, its solutions are a candidate's and appear in the tables with their distance from these.

Projections are solved by bisection on the threshold in float64 numpy, down to adjacent numbers; the set of entries off
their bounds then gives threshold and derivative in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.cases import DOUBLE, Answer, Case, Program
from benchmarks.kkt import Array, Arrays, pull_back, violation
from declarative.runtime import implicit
from declarative.runtime.adjoints.active_set import ActiveSetAdjoint
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.solvers.interior_point import InteriorPoint

CERTIFIED = 1e-9
"""Violation of the KKT conditions and disagreement of the gradients beyond which a reference is refused."""


class Certificate(NamedTuple):
    """How exact a reference is."""

    violation: float
    """Of the KKT conditions, relative."""
    disagreement: float
    """Of the gradients with the ones of `kkt.pull_back`, relative."""


@dataclass(frozen=True)
class Exact:
    """The answer with its certificate; ``active`` is the mean number of active inequalities."""

    answer: Answer
    certificate: Certificate
    active: float


class NotExactError(Exception):
    """The reference did not pass its own certificates."""


def stated(parameters: tuple[Tensor, ...]) -> DenseQP:
    """The program as the package's runtime takes it."""
    P, q, A, b, G, h = parameters
    return DenseQP(
        P=P,
        q=q,
        A=A if A.shape[-2] else None,
        b=b if b.shape[-1] else None,
        G=G if G.shape[-2] else None,
        h=h if h.shape[-1] else None,
    )


def of_program(case: Case) -> Exact:
    """The exact answer to a batch of quadratic programs; raises `NotExactError` where a certificate fails."""
    case = case.to(DOUBLE)
    leaves = tuple(t.clone().requires_grad_() for t in case.parameters)
    program = stated(leaves)
    x, nu, multiplier, _ = implicit.solve(program, InteriorPoint(), ActiveSetAdjoint()).point
    gradients = torch.autograd.grad(x, leaves, case.cotangent, allow_unused=True)
    whole = tuple(torch.zeros_like(t) if g is None else g for g, t in zip(gradients, leaves, strict=True))
    answer = Answer(x.detach(), whole)

    repeated = Arrays(*(t.numpy() for t in case.repeated().parameters))
    point = [t.detach().numpy() for t in (x, nu, multiplier)]
    active = multiplier.detach().numpy() > repeated.h - (repeated.G @ point[0][..., None])[..., 0]
    again = pull_back(repeated, *point, active, case.cotangent.numpy())
    summed = (torch.from_numpy(g).sum_to_size(t.shape) for g, t in zip(again, case.parameters, strict=True))
    certificate = Certificate(violation(repeated, *point), gradient_error(whole, tuple(summed)))
    if not max(certificate) < CERTIFIED:
        raise NotExactError(f"the reference is not exact: {certificate}")
    return Exact(answer, certificate, float(active.sum(-1).mean()))


def of_projection(case: Case, weights: Array, lower: float, upper: float, total: float) -> Exact:
    """The projection of rows of scores onto {weights'y = total, lower <= y <= upper}."""
    v = case.parameters[0].numpy().astype(np.float64)
    bar = case.cotangent.numpy().astype(np.float64)
    reach = (np.abs(v).max() + np.abs([b for b in (lower, upper) if np.isfinite(b)]).max() + total) / weights.min()
    low, high = np.full((len(v), 1), -reach), np.full((len(v), 1), reach)
    for _ in range(200):
        middle = (low + high) / 2
        above = (weights * np.clip(v - middle * weights, lower, upper)).sum(-1, keepdims=True) > total
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    free = (v - low * weights > lower) & (v - low * weights < upper)
    fixed = np.where(
        v - low * weights <= lower, lower if np.isfinite(lower) else 0.0, upper if np.isfinite(upper) else 0.0
    )
    scale = (weights**2 * free).sum(-1, keepdims=True)
    held = (weights * np.where(free, v, fixed)).sum(-1, keepdims=True) - total
    t = held / scale
    y = np.where(free, v - t * weights, fixed)
    gap = np.abs((weights * y).sum(-1) - total).max()
    inside = max(0.0, float((lower - y).max()), float((y - upper).max()))
    gradient = np.where(free, bar - weights * (weights * bar * free).sum(-1, keepdims=True) / scale, 0.0)
    if not max(gap / total, inside) < CERTIFIED:
        raise NotExactError(f"the projection is off by {gap:.1e} and outside its bounds by {inside:.1e}")
    answer = Answer(torch.from_numpy(y), (torch.from_numpy(gradient),))
    return Exact(answer, Certificate(float(max(gap, inside)), 0.0), float((~free).sum(-1).mean()))


def of_softmax(case: Case) -> Exact:
    """exp(v) / sum exp(v) in float64 numpy."""
    v = case.parameters[0].numpy().astype(np.float64)
    bar = case.cotangent.numpy().astype(np.float64)
    weight = np.exp(v - v.max(-1, keepdims=True))
    y = weight / weight.sum(-1, keepdims=True)
    gradient = y * (bar - (y * bar).sum(-1, keepdims=True))
    return Exact(Answer(torch.from_numpy(y), (torch.from_numpy(gradient),)), Certificate(0.0, 0.0), 0.0)


def x_error(found: Tensor, exact: Tensor) -> float:
    """Largest error, relative to the largest exact entry where that exceeds one; not a number counts as infinite.

    Where ``exact`` has fewer instances, the first ones are compared.
    """
    error = (found[: len(exact)].double() - exact).abs().max() / exact.abs().max().clamp_min(1)
    return float(error) if bool(error.isfinite()) else float("inf")


def gradient_error(found: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> float:
    """Largest error over the parameters, each relative to the largest entry of its exact gradient, or to a hundredth of
    the largest of all the gradients where that is more: a gradient may be zero.

    Of a square matrix in the first place, P, the symmetric part is compared: the rest has no meaning for a symmetric P,
    and the candidates differ in it. A gradient of each instance of what the batch shares is summed, and where ``exact``
    has fewer instances, the first ones are compared.
    """
    worst = 0.0
    floor = max(float(t.abs().max()) for t in exact if t.numel()) / 100
    for place, (one, other) in enumerate(zip(found, exact, strict=True)):
        if not other.numel():
            continue
        one = one.sum_to_size(other.shape) if one.dim() > other.dim() else one[: len(other)]
        if len(exact) == len(Program._fields) and place == 0:
            one, other = (one + one.mT) / 2, (other + other.mT) / 2
        error = (one.double() - other).abs().max() / other.abs().max().clamp_min(floor)
        worst = max(worst, float(error) if bool(error.isfinite()) else float("inf"))
    return worst
