"""Judgement of answers that takes nothing from the solver: residuals in numpy, certificates, Clarabel and HiGHS.

A point is accepted by its KKT residual on the data as given, in units that neither the scaling of a row nor that of the
objective changes:

    stationarity      Px + q + A'nu + G'lambda + z           over the largest of its terms and of the data P, q
    rows              Ax - b, max(Gx - h, 0)                  each over its own |row| |x| + |right-hand side| + |row|
    signs             lambda < 0, z of a bound that is absent over the terms of stationarity
    complementarity   min(lambda, h - Gx), min(z, room)       each part in the units above

By convexity such a point is optimal, and its value is compared with the one the program was made with, or Clarabel's.
"""

from __future__ import annotations

from dataclasses import dataclass

import clarabel
import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from tests.runtime.robustness.programs import INFEASIBLE, OPTIMAL, UNBOUNDED, Array, Programs, times

Mask = NDArray[np.bool_]


def kkt_residual(of: Programs, x: Array, nu: Array, ineq: Array, z: Array) -> Array:
    """The residual described above; (batch,), NaN where the point is not finite."""
    P = (of.P + of.P.swapaxes(1, 2)) / 2
    terms = [times(P, x), of.q, times(of.A.swapaxes(1, 2), nu), times(of.G.swapaxes(1, 2), ineq), z]
    given = largest(of.q, P.reshape(len(x), -1))
    dual = np.where(given > 0, np.maximum(largest(*terms), given), 1)
    size = largest(x)[:, None] + 1
    worst = [largest(sum(terms)) / dual]
    worst.append(largest((times(of.A, x) - of.b) / room_of(of.A, x, of.b)))
    units = room_of(of.G, x, np.where(np.isfinite(of.h), of.h, 0))
    slack = np.where(of.h < 1e20, (of.h - times(of.G, x)) / units, np.inf)
    force = ineq * largest_of_rows(of.G) / dual[:, None]
    worst += [largest(np.minimum(slack, 0)), largest(np.minimum(ineq, 0)) / dual]
    worst.append(largest(np.minimum(np.abs(force), np.abs(slack))))
    for room, push in ((of.upper - x, np.maximum(z, 0)), (x - of.lower, np.maximum(-z, 0))):
        worst += [largest(np.minimum(room, 0) / size), largest(np.minimum(push / dual[:, None], np.abs(room) / size))]
    return np.max(np.stack(worst), 0)


def room_of(rows: Array, x: Array, side: Array) -> Array:
    """Per row, the size of the terms it is a sum of, and at least that of its entries; (batch, rows)."""
    size = times(np.abs(rows), np.abs(x)) + np.abs(side) + largest_of_rows(rows)
    return np.where(size > 0, size, 1)


def largest_of_rows(matrix: Array) -> Array:
    return np.abs(matrix).max(2, initial=0)


def largest(*parts: Array) -> Array:
    return np.max(np.stack([np.abs(part).max(1, initial=0) for part in parts]), 0)


def objective(of: Programs, x: Array) -> Array:
    return ((0.5 * times(of.P, x) + of.q) * x).sum(1)


def objective_size(of: Programs, x: Array) -> Array:
    """The size of the terms of the objective; what a relative residual of the point is multiplied by in its value."""
    x = np.maximum(np.abs(x), np.abs(x).max(1, initial=0, keepdims=True) + 1e-3)
    return ((0.5 * times(np.abs(of.P), x) + np.abs(of.q)) * x).sum(1)


@dataclass(frozen=True)
class Verdict:
    """What a second solver says of one instance: `OPTIMAL` with its value, `INFEASIBLE`, `UNBOUNDED`, or None."""

    truth: int | None
    value: float = np.nan


def clarabel_verdict(of: Programs, i: int) -> Verdict:
    """Clarabel on instance i."""
    P, rows = sparse.csc_matrix(np.triu((of.P[i] + of.P[i].T) / 2)), np.eye(of.shape[0])
    up, low, live = np.isfinite(of.upper[i]), np.isfinite(of.lower[i]), of.h[i] < 1e20
    matrix = np.concatenate([of.A[i], of.G[i][live], rows[up], -rows[low]])
    side = np.concatenate([of.b[i], of.h[i][live], of.upper[i][up], -of.lower[i][low]])
    cones = [clarabel.ZeroConeT(of.shape[2]), clarabel.NonnegativeConeT(len(side) - of.shape[2])]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    solved = clarabel.DefaultSolver(P, of.q[i], sparse.csc_matrix(matrix), side, cones, settings).solve()
    match str(solved.status):
        case "Solved":
            return Verdict(OPTIMAL, solved.obj_val)
        case "PrimalInfeasible":
            return Verdict(INFEASIBLE)
        case "DualInfeasible":
            return Verdict(UNBOUNDED)
    return Verdict(None)


def feasible_by_simplex(of: Programs, i: int) -> bool:
    """Whether HiGHS finds a point that satisfies the constraints of instance i."""
    live = np.isfinite(of.h[i])
    bounds = list(zip(of.lower[i], of.upper[i], strict=True))
    found = optimize.linprog(
        np.zeros(of.shape[0]), of.G[i][live], of.h[i][live], of.A[i], of.b[i], bounds, method="highs-ds"
    )
    return found.status == 0
