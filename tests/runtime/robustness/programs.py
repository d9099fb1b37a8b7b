"""Batches of quadratic programs in numpy, each instance with what is known of it before any solver has seen it.

A program with a solution is made backwards: the solution x, the state of every inequality and its multiplier are drawn
first, and q, b, h and the bounds are what makes them a KKT point, so that the optimal value is known. One without is
made around a certificate that holds in floating point too: rows that contradict each other are exact negatives or
copies, and a ray is the difference of two variables whose columns are copies.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from declarative.runtime.quadratic import DenseQP

Array = NDArray[np.float64]
OPTIMAL, INFEASIBLE, UNBOUNDED = 0, 1, 2
DATA = ("P", "q", "A", "b", "G", "h", "lower", "upper")


@dataclass(frozen=True)
class Programs:
    """minimise ½x'Px + q'x subject to Ax = b, Gx <= h, lower <= x <= upper; every array (batch, ...), bounds infinite
    where absent.

    ``truth``: (batch,), whether there is a solution. ``value``: (batch,), the optimal value, NaN where there is none.
    ``family``: (batch,), the name of the family.
    """

    P: Array
    q: Array
    A: Array
    b: Array
    G: Array
    h: Array
    lower: Array
    upper: Array
    truth: NDArray[np.int64]
    value: Array
    family: NDArray[np.str_]

    @property
    def shape(self) -> tuple[int, int, int]:
        """n, m, p."""
        return self.q.shape[1], self.h.shape[1], self.b.shape[1]

    def __len__(self) -> int:
        return len(self.q)

    def take(self, index: NDArray[np.int64] | slice) -> Self:
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def rounded(self, dtype: torch.dtype) -> Self:
        """The same with data that ``dtype`` can hold."""
        if dtype == torch.float64:
            return self
        return replace(self, **{k: getattr(self, k).astype(np.float32).astype(np.float64) for k in DATA})

    def problem(self, dtype: torch.dtype = torch.float64) -> DenseQP:
        """As the solvers take it; a part without rows or without a finite bound is left out."""
        given = {k: torch.tensor(getattr(self, k)).to(dtype) for k in DATA}
        for matrix, vector in (("A", "b"), ("G", "h")):
            if not given[vector].shape[-1]:
                given[matrix] = given[vector] = None
        for bound in ("lower", "upper"):
            if not given[bound].isfinite().any():
                given[bound] = None
        return DenseQP(**given)


def mixed(parts: list[Programs], rng: np.random.Generator) -> Programs:
    """Batches of equal sizes shuffled into one."""
    whole = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Programs)}
    return Programs(**whole).take(rng.permutation(len(whole["q"])))


def with_solution(
    rng: np.random.Generator,
    P: Array,
    A: Array,
    G: Array,
    *,
    boxed: float = 0.0,
    active: float = 0.4,
    weak: float = 0.0,
    x: Array | None = None,
    ineq: Array | None = None,
) -> Programs:
    """Programs with these matrices, a solution (``x``, where given) and multipliers (``ineq`` of the rows of G, where
    given, whose positive entries are then the active rows).

    ``boxed``, ``active`` and ``weak`` are the shares of bounds that are finite, of inequalities that are active, and of
    the active ones that have a multiplier of zero.
    """
    batch, n = P.shape[:2]
    x = rng.normal(size=(batch, n)) if x is None else x

    def states(size: int) -> tuple[Array, Array]:
        """Slacks and multipliers."""
        on = rng.random((batch, size)) < active
        strict = rng.random((batch, size)) >= weak
        amount = rng.uniform(0.1, 2.0, (2, batch, size))
        return np.where(on, 0, amount[0]), np.where(on & strict, amount[1], 0)

    slack, drawn = states(G.shape[1])
    if ineq is None:
        ineq = drawn
    else:
        slack = np.where(ineq > 0, 0, slack)
    above, at_upper = states(n)
    below, at_lower = states(n)
    has_upper, has_lower = rng.random((2, batch, n)) < boxed
    below = np.where((above == 0) & has_upper, below + 0.1, below)
    at_lower = np.where(below > 0, 0, at_lower)
    z = np.where(has_upper, at_upper, 0) - np.where(has_lower, at_lower, 0)
    nu = rng.normal(size=A.shape[:2])
    curvature = times(P, x)
    q = -(curvature + times(A.swapaxes(1, 2), nu) + times(G.swapaxes(1, 2), ineq) + z)
    return Programs(
        P=P,
        q=q,
        A=A,
        b=times(A, x),
        G=G,
        h=times(G, x) + slack,
        lower=np.where(has_lower, x - below, -np.inf),
        upper=np.where(has_upper, x + above, np.inf),
        truth=np.full(batch, OPTIMAL),
        value=((0.5 * curvature + q) * x).sum(1),
        family=np.full(batch, ""),
    )


def rescaled(programs: Programs, rng: np.random.Generator, decades: float) -> Programs:
    """Variables, rows of both kinds and objective in units that differ by up to 10^(2 decades), powers of two, so that
    what held exactly still does."""

    def units(*size: int) -> Array:
        return 2 ** np.round(np.log2(10) * rng.uniform(-decades, decades, (len(programs), *size)))

    n, m, p = programs.shape
    D, E, F, cost = units(n), units(p), units(m), units()
    return replace(
        programs,
        P=cost[:, None, None] * D[:, :, None] * programs.P * D[:, None, :],
        q=cost[:, None] * D * programs.q,
        A=E[:, :, None] * programs.A * D[:, None, :],
        b=E * programs.b,
        G=F[:, :, None] * programs.G * D[:, None, :],
        h=F * programs.h,
        lower=programs.lower / D,
        upper=programs.upper / D,
        value=cost * programs.value,
    )


def times(matrix: Array, vector: Array) -> Array:
    return (matrix @ vector[..., None])[..., 0]
