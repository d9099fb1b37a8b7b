"""The families of quadratic programs that the solvers are tried on: a function of (rng, batch, n, m, p) each.

Registered in `FAMILIES` by name. Every family takes every size, also m = 0 and p = 0; what it is about is then as much
of it as the size leaves room for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.runtime.robustness.programs import INFEASIBLE, UNBOUNDED, Array, Programs, rescaled, times, with_solution

Family = Callable[[np.random.Generator, int, int, int, int], Programs]
FAMILIES: dict[str, Family] = {}


def family(make: Family) -> Family:
    def named(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
        return replace(make(rng, batch, n, m, p), family=np.full(batch, make.__name__))

    FAMILIES[make.__name__] = named
    return named


def curvature(rng: np.random.Generator, batch: int, n: int, rank: int | None = None, least: float = 0.1) -> Array:
    """Positive semidefinite matrices (batch, n, n): of a rank, or with eigenvalues of at least ``least``."""
    root = rng.normal(size=(batch, n, n if rank is None else rank)) / np.sqrt(n)
    product = root @ root.swapaxes(1, 2)
    return product + (least * np.eye(n) if rank is None else 0)


def rows(rng: np.random.Generator, batch: int, count: int, n: int) -> Array:
    return rng.normal(size=(batch, count, n))


def independent(p: int, n: int) -> int:
    """How many of p equality rows leave freedom to n variables."""
    return min(p, max(n - 1, 0))


def equalities(rng: np.random.Generator, batch: int, p: int, n: int) -> Array:
    """p rows of which at most n - 1 are independent; small integers combine the rest."""
    own = independent(p, n)
    basis = rows(rng, batch, own, n)
    mixing = rng.integers(-2, 3, (batch, p - own, own)).astype(float)
    return np.concatenate([basis, mixing @ basis], 1)


@family
def well_scaled(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    return with_solution(rng, curvature(rng, batch, n), equalities(rng, batch, p, n), rows(rng, batch, m, n), boxed=0.3)


@family
def badly_scaled(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """Units of variables, rows and objective apart by 1e6."""
    return rescaled(well_scaled(rng, batch, n, m, p), rng, 3)


@family
def ill_conditioned(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """Curvatures from 1e-6 to 1 in directions that no scaling of the variables untangles."""
    axes = np.linalg.qr(rows(rng, batch, n, n))[0]
    P = axes * 10 ** rng.uniform(-6, 0, (batch, 1, n)) @ axes.swapaxes(1, 2)
    P = (P + P.swapaxes(1, 2)) / 2
    return with_solution(rng, P, equalities(rng, batch, p, n), rows(rng, batch, m, n), boxed=0.2)


@family
def weakly_active(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """Active inequalities of which half have no multiplier: no strict complementarity."""
    G = rows(rng, batch, m, n)
    return with_solution(
        rng, curvature(rng, batch, n), equalities(rng, batch, p, n), G, boxed=0.3, active=0.6, weak=0.5
    )


@family
def crowded_vertex(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """All rows meet in the solution, more of them than variables where there are: multipliers are not unique."""
    G = rows(rng, batch, m, n)
    return with_solution(
        rng, curvature(rng, batch, n), equalities(rng, batch, p, n), G, boxed=0.3, active=1.0, weak=0.3
    )


@family
def repeated_rows(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """Half of the rows of both kinds repeat another one, as it is or doubled: an active one is active twice."""
    kept_m, kept_p = (m + 1) // 2, (p + 1) // 2
    made = well_scaled(rng, batch, n, kept_m, kept_p)
    factor = rng.choice([1.0, 2.0, 0.5], (batch, 1))

    def repeated(matrix: Array, vector: Array, count: int) -> tuple[Array, Array]:
        chosen = rng.permutation(vector.shape[1])[: count - vector.shape[1]]
        copies, sides = factor[:, :, None] * matrix[:, chosen], factor * vector[:, chosen]
        return np.concatenate([matrix, copies], 1), np.concatenate([vector, sides], 1)

    A, b = repeated(made.A, made.b, p)
    G, h = repeated(made.G, made.h, m)
    return replace(made, A=A, b=b, G=G, h=h)


@family
def narrow(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """Rows in pairs that leave a slab of width 1e-3 to 1e-9 between them: nearly infeasible."""
    half = rows(rng, batch, (m + 1) // 2, n)
    G = np.concatenate([half, -half], 1)[:, :m]
    one_side = np.where(np.arange(m) < (m + 1) // 2, rng.uniform(0.1, 2.0, (batch, m)), 0)
    P, A, x = curvature(rng, batch, n), equalities(rng, batch, p, n), rng.normal(size=(batch, n))
    made = with_solution(rng, P, A, G, boxed=0.2, x=x, ineq=one_side)
    width = np.where(one_side > 0, 0, 10 ** rng.uniform(-9, -3, (batch, m)))
    return replace(made, h=times(G, x) + width)


@family
def linear(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """P = 0: mostly vertices, and faces where multipliers happen to vanish."""
    return with_solution(
        rng, np.zeros((batch, n, n)), equalities(rng, batch, p, n), rows(rng, batch, m, n), boxed=0.7, active=0.6
    )


@family
def linear_badly_scaled(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    return rescaled(linear(rng, batch, n, m, p), rng, 3)


@family
def low_rank(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """P of less than half the rank; the solution is a point or a face."""
    P = curvature(rng, batch, n, rank=n // 3)
    return with_solution(rng, P, equalities(rng, batch, p, n), rows(rng, batch, m, n), boxed=0.5)


@family
def bounds_of_every_size(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """Boxes from 1e-6 to 1e6 wide, and rows that far away."""
    P = curvature(rng, batch, n)
    made = with_solution(rng, P, equalities(rng, batch, p, n), rows(rng, batch, m, n), boxed=0.8)
    size = 10 ** rng.uniform(-3, 3, batch)
    return replace(
        made,
        b=size[:, None] * made.b,
        h=size[:, None] * made.h,
        lower=size[:, None] * made.lower,
        upper=size[:, None] * made.upper,
        q=size[:, None] * made.q,
        value=size**2 * made.value,
    )


@family
def fixed_variables(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """lower == upper for about half of the variables; sometimes for all of them."""
    x = rng.normal(size=(batch, n)).astype(np.float32).astype(float)
    P, A = curvature(rng, batch, n), equalities(rng, batch, p, n)
    made = with_solution(rng, P, A, rows(rng, batch, m, n), boxed=0.5, x=x)
    held = rng.random((batch, n)) < rng.choice([0.5, 1.0], (batch, 1), p=[0.9, 0.1])
    return replace(made, lower=np.where(held, x, made.lower), upper=np.where(held, x, made.upper))


@family
def nothing_to_pay(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """q = 0, and P = 0 in every third instance: any feasible point will do."""
    P = curvature(rng, batch, n, rank=n // 2) * (rng.random((batch, 1, 1)) < 0.67)
    made = with_solution(rng, P, equalities(rng, batch, p, n), rows(rng, batch, m, n), boxed=0.4, active=0.0)
    around_zero = replace(made, b=0 * made.b, lower=-np.abs(made.lower), upper=np.abs(made.upper))
    return replace(around_zero, q=0 * made.q, h=np.abs(made.h), value=0 * made.value)


@family
def zero_matrices(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """Rows of zeros in A and G, columns of zeros in everything, infinite right-hand sides."""
    silent = rng.random((batch, n)) < 0.3
    P = np.where(silent[:, :, None] | silent[:, None, :], 0, curvature(rng, batch, n))
    A = np.where(silent[:, None, :] | (rng.random((batch, p, 1)) < 0.5), 0, equalities(rng, batch, p, n))
    G = np.where(silent[:, None, :] | (rng.random((batch, m, 1)) < 0.5), 0, rows(rng, batch, m, n))
    x = rng.normal(size=(batch, n))
    made = with_solution(rng, P, A, G, boxed=0.3, x=x)
    far = (made.h - times(G, x) > 0.05) & (rng.random((batch, m)) < 0.3)
    return replace(made, h=np.where(far, np.inf, made.h))


@family
def infeasible(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """Two rows, a row of zeros, or two bounds contradict each other by 1e-2 to 1e2 of the data."""
    made = with_solution(rng, curvature(rng, batch, n), equalities(rng, batch, p, n), rows(rng, batch, m, n), boxed=0.3)
    A, b, G, h = made.A.copy(), made.b.copy(), made.G.copy(), made.h.copy()
    lower, upper = made.lower.copy(), made.upper.copy()
    gap = 10 ** rng.uniform(-2, 2, batch)
    kinds = ["bounds"] + (["opposite", "zero"] if m >= 2 else []) + (["equalities"] if p >= 2 else [])
    kind = rng.choice(kinds, batch)
    for i in range(batch):
        match kind[i]:
            case "opposite":
                G[i, 1], h[i, 1] = -G[i, 0], -h[i, 0] - gap[i]
            case "zero":
                G[i, 1], h[i, 1] = 0, -gap[i]
            case "equalities":
                A[i, 1], b[i, 1] = A[i, 0], b[i, 0] + gap[i]
            case _:
                lower[i, 0], upper[i, 0] = gap[i], -gap[i]
    nothing = np.full(batch, np.nan)
    return replace(made, A=A, b=b, G=G, h=h, lower=lower, upper=upper, truth=np.full(batch, INFEASIBLE), value=nothing)


@family
def infeasible_badly_scaled(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    return rescaled(infeasible(rng, batch, n, m, p), rng, 2)


@family
def infeasible_together(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """A nonnegative combination of many rows, in small integers, asks for 0 <= -gap; bounds where m < 2."""
    if m < 2:
        return infeasible(rng, batch, n, m, p)
    made = with_solution(rng, curvature(rng, batch, n), equalities(rng, batch, p, n), rows(rng, batch, m, n), boxed=0.2)
    G = rng.integers(-3, 4, (batch, m, n)).astype(float)
    weights = rng.integers(0, 3, (batch, m - 1)).astype(float)
    G[:, -1] = -np.einsum("bm,bmn->bn", weights, G[:, :-1])
    h = np.round(made.h * 16) / 16
    h[:, -1] = -np.einsum("bm,bm->b", weights, h[:, :-1]) - 10 ** rng.uniform(-1, 1, batch)
    return replace(made, G=G, h=h, truth=np.full(batch, INFEASIBLE), value=np.full(batch, np.nan))


@family
def unbounded(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    """The first variable may rise as the last one falls, at no cost but a gain; with n = 1, the variable falls."""
    made = with_solution(rng, curvature(rng, batch, n), equalities(rng, batch, p, n), rows(rng, batch, m, n), boxed=0.3)
    P, q, A, G, lower, upper = (getattr(made, k).copy() for k in ("P", "q", "A", "G", "lower", "upper"))
    if n == 1:
        P[:], A[:], G[:], lower[:], q[:] = 0, 0, np.abs(G), -np.inf, np.abs(q) + 0.1
        b = 0 * made.b
    else:
        x = rng.normal(size=(batch, n))
        P[:, -1] = P[:, 0]
        P[:, :, -1] = P[:, :, 0]
        A[:, :, -1] = A[:, :, 0]
        G[:, :, -1] = G[:, :, 0] + np.abs(G[:, :, -1]) * (rng.random(G.shape[:2]) < 0.3)
        q[:, 0] = q[:, -1] - 10 ** rng.uniform(-1, 1, batch)
        lower[:, -1], upper[:, 0] = -np.inf, np.inf
        x = np.clip(x, lower, upper)
        b = np.einsum("bpn,bn->bp", A, x)
        made = replace(made, h=np.einsum("bmn,bn->bm", G, x) + rng.uniform(0, 1, G.shape[:2]))
    nothing = np.full(batch, np.nan)
    return replace(
        made, P=P, q=q, A=A, b=b, G=G, lower=lower, upper=upper, truth=np.full(batch, UNBOUNDED), value=nothing
    )


@family
def unbounded_badly_scaled(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Programs:
    return rescaled(unbounded(rng, batch, n, m, p), rng, 2)
