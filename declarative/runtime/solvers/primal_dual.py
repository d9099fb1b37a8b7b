"""Mehrotra's predictor-corrector for a batch of dense quadratic programs, in torch operations over the batch.

All inequalities are Cx + s = d with C = [G; I; -I] (rows, upper bounds, lower bounds; dead where infinite), slacks
s > 0 and multipliers lambda > 0. With W = diag(lambda / s), a Newton step on the perturbed KKT conditions reduces to

    [P + C'WC   A'] [dx ]   [-r_dual - C'(r_comp + lambda r_slack) / s]
    [A          0 ] [dnu] = [-r_primal                                ]

where C'WC = G'WG + diagonal. The block is factored by Cholesky with a proximal term rho, its Schur complement with a
dual one delta, and the solution refined against the system without them.

Instances that have converged leave the batch; nothing is summed over it, so none can influence another.

References: Mehrotra, On the implementation of a primal-dual interior point method, 1992; Wright, Primal-Dual
Interior-Point Methods, 1997, chapter 10; Friedlander and Orban, A primal-dual regularized interior-point method, 2012.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from declarative.runtime.quadratic import QPPoint, matvec
from declarative.runtime.solvers.standard_form import Form

RHO = (1e-11, 1e-8)
DELTA = (1e-12, 1e-10)
"""Proximal terms of the primal and the dual block: relative to the diagonal, and at least."""
STAY_INSIDE = 0.995
"""Share of the way to the boundary of the positive orthant that a step goes."""
PATIENCE = 10
"""Iterations without progress after which the best point so far is the answer."""


class Iterate(NamedTuple):
    """x (B, n), nu (B, p), and slacks and multipliers (B, m + 2n) of rows, upper and lower bounds."""

    x: Tensor
    eq: Tensor
    slack: Tensor
    dual: Tensor


class Ended(NamedTuple):
    """The best iterate of every instance, its iterations (int32) and relative residual, (B)."""

    iterate: Iterate
    iterations: Tensor
    residual: Tensor


class Residuals(NamedTuple):
    dual: Tensor
    primal: Tensor
    slack: Tensor
    gap: Tensor
    worst: Tensor


def iterate(form: Form, tolerance: float, max_iterations: int) -> Ended:
    """Run every instance until its relative residual is at most ``tolerance``, it stalls, breaks or certifies a ray."""
    lanes = torch.arange(form.q.shape[0], device=form.q.device)
    current = start(form)
    best, worst = current, form.q.new_full(form.q.shape[:1], torch.inf)
    age = torch.zeros_like(lanes)
    ended = Ended(Iterate(*(t.clone() for t in current)), torch.zeros_like(lanes, dtype=torch.int32), worst.clone())
    for count in range(max_iterations + 1):
        residuals = measure(form, current)
        better = residuals.worst < worst
        age = torch.where(residuals.worst < 0.9 * worst, 0, age + 1)
        worst = torch.where(better, residuals.worst, worst)
        best = Iterate(*(torch.where(better[:, None], new, old) for new, old in zip(current, best, strict=True)))
        done = (worst <= tolerance) | (age >= PATIENCE) | ~residuals.worst.isfinite() | on_a_ray(form, current)
        if count == max_iterations:
            done = torch.ones_like(done)
        leaving = done.nonzero()[:, 0]
        if leaving.numel():
            at = lanes[leaving]
            for kept, value in zip((*ended.iterate, ended.residual), (*best, worst), strict=True):
                kept[at] = value[leaving]
            ended.iterations[at] = count
            stay = (~done).nonzero()[:, 0]
            if not stay.numel():
                break
            form, lanes, worst, age = form.take(stay), lanes[stay], worst[stay], age[stay]
            current, best = (Iterate(*(t[stay] for t in point)) for point in (current, best))
            residuals = Residuals(*(t[stay] for t in residuals))
        current = step(form, current, residuals)
    return ended


def as_point(form: Form, point: Iterate) -> QPPoint:
    """The iterate with its two bound multipliers as one."""
    m, n = form.h.shape[-1], form.q.shape[-1]
    return QPPoint(point.x, point.eq, point.dual[:, :m], point.dual[:, m : m + n] - point.dual[:, m + n :])


def start(form: Form) -> Iterate:
    """The point of least squared slack, shifted into the interior (Vandenberghe, The CVXOPT linear and quadratic cone
    program solvers, 2010, section 5.3)."""
    live = is_live(form)
    weights = live.to(form.q.dtype)
    d = right_hand_side(form)
    x, eq = newton_matrix(form, weights)(-form.q + transposed(form, weights * d), form.b)
    gap = d - forward(form, x)
    return Iterate(x, eq, torch.where(live, _lifted(gap, live), 1), torch.where(live, _lifted(-gap, live), 0))


def _lifted(vector: Tensor, live: Tensor) -> Tensor:
    """The vector, moved by a constant to be at least one where some live entry is not well above zero."""
    if not vector.shape[-1]:
        return vector
    least = torch.where(live, vector, torch.inf).amin(-1, keepdim=True)
    return vector + torch.where(least < 0.1, 1 - least, 0)


def measure(form: Form, point: Iterate) -> Residuals:
    """Residuals of the perturbed KKT conditions, and per instance the largest relative one."""
    x, eq, slack, dual = point
    live = is_live(form)
    curved, pull, push = matvec(form.P, x), matvec(form.A.mT, eq), transposed(form, dual)
    mapped, d = forward(form, x), right_hand_side(form)
    r_dual = curved + form.q + pull + push
    image = matvec(form.A, x)
    r_primal = image - form.b
    r_slack = torch.where(live, mapped + slack - d, 0)
    gap = (slack * dual).sum(-1)
    objective = (x * curved).sum(-1).abs() + (x * form.q).sum(-1).abs()
    relative = [
        largest(r_dual) / (1 + torch.stack([largest(t) for t in (curved, form.q, pull, push)]).amax(0)),
        largest(r_primal) / (1 + torch.maximum(largest(image), largest(form.b))),
        largest(r_slack) / (1 + torch.maximum(largest(torch.where(live, mapped, 0)), largest(d))),
        gap / (1 + objective),
    ]
    return Residuals(r_dual, r_primal, r_slack, gap, torch.stack(relative).sum(0))


def on_a_ray(form: Form, point: Iterate) -> Tensor:
    """Whether the iterate, scaled to length one, nearly proves that there is no solution: (B,), to be certified after.

    Infeasible: A'nu + C'lambda = 0 with b'nu + d'lambda < 0. Unbounded: Px = 0, Ax = 0, Cx <= 0 with q'x < 0.
    """
    x, eq, _, dual = point
    live = is_live(form)
    separation = -((form.b * eq).sum(-1) + (right_hand_side(form) * dual).sum(-1))
    combination = largest(matvec(form.A.mT, eq) + transposed(form, dual))
    infeasible = (separation > 1) & (combination < 1e-8 * separation)
    descent = -(form.q * x).sum(-1)
    rise = torch.where(live, forward(form, x), 0).clamp_min(0)
    moved = torch.stack([largest(matvec(form.P, x)), largest(matvec(form.A, x)), largest(rise)]).amax(0)
    return infeasible | ((descent > 1) & (moved < 1e-8 * descent))


def step(form: Form, point: Iterate, residuals: Residuals) -> Iterate:
    """One predictor-corrector step."""
    x, eq, slack, dual = point
    live = is_live(form)
    count = live.sum(-1).clamp_min(1)
    weights = dual / slack
    solve = newton_matrix(form, weights)

    def direction(r_comp: Tensor) -> Iterate:
        pushed = transposed(form, (r_comp + dual * residuals.slack) / slack)
        dx, deq = solve(-residuals.dual - pushed, -residuals.primal)
        dslack = torch.where(live, -residuals.slack - forward(form, dx), 0)
        return Iterate(dx, deq, dslack, torch.where(live, (r_comp - dual * dslack) / slack, 0))

    predictor = direction(-slack * dual)
    along, across = step_lengths(form, point, predictor, 1.0)
    mu = residuals.gap / count
    reached = ((slack + along * predictor.slack) * (dual + across * predictor.dual)).sum(-1) / count
    centre = (reached / mu.clamp_min(torch.finfo(mu.dtype).tiny)).clamp(0, 1) ** 3 * mu
    corrected = torch.where(live, centre[:, None] - slack * dual - predictor.slack * predictor.dual, 0)
    change = direction(corrected)
    along, across = step_lengths(form, point, change, STAY_INSIDE)
    return Iterate(
        x + along * change.x, eq + across * change.eq, slack + along * change.slack, dual + across * change.dual
    )


def step_lengths(form: Form, point: Iterate, change: Iterate, share: float) -> tuple[Tensor, Tensor]:
    """Primal and dual steps (B, 1), at most one, that go this share of the way to a slack or multiplier of zero.

    Curvature couples the two, so that they are the same unless P = 0.
    """
    primal = (share * _to_boundary(point.slack, change.slack)).clamp_max(1)
    dual = (share * _to_boundary(point.dual, change.dual)).clamp_max(1)
    both = torch.minimum(primal, dual)
    linear = (form.P == 0).all(-1).all(-1, keepdim=True)
    return torch.where(linear, primal, both), torch.where(linear, dual, both)


def _to_boundary(vector: Tensor, change: Tensor) -> Tensor:
    if not vector.shape[-1]:
        return vector.new_full((vector.shape[0], 1), torch.inf)
    ratio = torch.where(change < 0, -vector / torch.where(change < 0, change, -1), torch.inf)
    return ratio.amin(-1, keepdim=True)


def newton_matrix(form: Form, weights: Tensor) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A function solving [[P + C'WC, A'], [A, 0]] (dx, dnu) = (r, t); ``weights``: the diagonal of W, zero if dead."""
    m, n = form.h.shape[-1], form.q.shape[-1]
    rows, upper, lower = weights[:, :m], weights[:, m : m + n], weights[:, m + n :]
    block = form.P + form.G.mT @ (rows[..., None] * form.G) + torch.diag_embed(upper + lower)
    triangle = cholesky(block, RHO)
    spread = torch.linalg.solve_triangular(triangle, form.A.mT, upper=False)
    complement = cholesky(spread.mT @ spread, DELTA)

    def once(r: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        half = torch.linalg.solve_triangular(triangle, r[..., None], upper=False)
        dnu = torch.cholesky_solve(spread.mT @ half - t[..., None], complement)
        dx = torch.linalg.solve_triangular(triangle.mT, half - spread @ dnu, upper=True)
        return dx[..., 0], dnu[..., 0]

    def solve(r: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        dx, dnu = once(r, t)
        for _ in range(2):
            more = once(r - matvec(block, dx) - matvec(form.A.mT, dnu), t - matvec(form.A, dx))
            dx, dnu = dx + more[0], dnu + more[1]
        return dx, dnu

    return solve


def cholesky(matrix: Tensor, proximal: tuple[float, float]) -> Tensor:
    """Lower triangle of M + shift; the shift grows a hundredfold for the instances where that breaks down.

    ``proximal``: the shift of the diagonal relative to it, and its least value (the data is scaled to one).
    """
    if not matrix.shape[-1]:
        return matrix
    relative, least = proximal
    shift = relative * matrix.diagonal(dim1=-2, dim2=-1).abs() + least
    factor, info = torch.linalg.cholesky_ex(matrix + torch.diag_embed(shift))
    for _ in range(4):
        broken = (info != 0).nonzero()[:, 0]
        if not broken.numel():
            break
        shift = 100 * shift
        again, info_again = torch.linalg.cholesky_ex(matrix[broken] + torch.diag_embed(shift[broken]))
        factor, info = factor.index_copy(0, broken, again), info.index_copy(0, broken, info_again)
    lower: Tensor = factor
    return lower


def is_live(form: Form) -> Tensor:
    """Which of the m + 2n inequalities are finite; (B, m + 2n)."""
    return torch.cat([form.h, form.upper, form.lower], -1).isfinite()


def right_hand_side(form: Form) -> Tensor:
    """d, zero in dead rows; (B, m + 2n)."""
    d = torch.cat([form.h, form.upper, -form.lower], -1)
    return torch.where(d.isfinite(), d, 0)


def forward(form: Form, x: Tensor) -> Tensor:
    """Cx, (B, m + 2n)."""
    return torch.cat([matvec(form.G, x), x, -x], -1)


def transposed(form: Form, dual: Tensor) -> Tensor:
    """C'lambda, (B, n)."""
    m, n = form.h.shape[-1], form.q.shape[-1]
    return matvec(form.G.mT, dual[:, :m]) + dual[:, m : m + n] - dual[:, m + n :]


def largest(vector: Tensor) -> Tensor:
    """Largest magnitude per instance, zero where there is no entry; (B,)."""
    return vector.abs().amax(-1) if vector.shape[-1] else vector.sum(-1)
