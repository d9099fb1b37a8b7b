"""The KKT system of quadratic programs in numpy: how well a point satisfies it, and the adjoint at an active set.

With C the active rows of G and u the solution of

    [ P  A'  C' ] [u_x     ]   [x_bar]
    [ A         ] [u_nu    ] = [  0  ]
    [ C         ] [u_lambda]   [  0  ]

the gradients are q: -u_x, P: -(u_x x' + x u_x')/2, A: -(nu u_x' + u_nu x'), b: u_nu, G: -(lambda u_x' + u_lambda x'),
h: u_lambda. It shares no code with the package, so that one can be held against the other.

Reference: Amos and Kolter, OptNet, 2017, equations 6 to 8.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Arrays(NamedTuple):
    """A batch of programs, every array with its leading batch dimension."""

    P: Array
    q: Array
    A: Array
    b: Array
    G: Array
    h: Array


def times(matrix: Array, vector: Array) -> Array:
    """Products of a batch of matrices and vectors."""
    return (matrix @ vector[..., None])[..., 0]


def outer(left: Array, right: Array) -> Array:
    return left[..., :, None] * right[..., None, :]


def violation(program: Arrays, x: Array, nu: Array, multiplier: Array) -> float:
    """The largest violation of the KKT conditions in the batch, each relative to the terms it is a sum of."""
    P, q, A, b, G, h = program
    terms = [times(P, x), q, times(A.swapaxes(-1, -2), nu), times(G.swapaxes(-1, -2), multiplier)]
    slack = h - times(G, x)
    dual, primal = 1 + np.abs(q).max(), 1 + np.abs(x).max()
    parts = [
        np.abs(sum(terms)) / dual,
        np.abs(times(A, x) - b) / primal,
        np.maximum(-slack, 0) / primal,
        np.maximum(-multiplier, 0) / dual,
        np.abs(np.minimum(multiplier, slack)) / max(dual, primal),
    ]
    return max((float(part.max()) for part in parts if part.size), default=0.0)


def pull_back(
    program: Arrays, x: Array, nu: Array, multiplier: Array, active: NDArray[np.bool_], x_bar: Array
) -> tuple[Array, ...]:
    """Gradients of P, q, A, b, G, h, the active rows of each instance padded to their largest number in the batch."""
    P, _, A, b, G, h = program
    batch, n, p = len(x), x.shape[-1], b.shape[-1]
    count = int(active.sum(-1).max(initial=0))
    rows = np.argsort(~active, axis=-1, kind="stable")[:, :count]
    live = np.take_along_axis(active, rows, -1)
    C = np.where(live[..., None], np.take_along_axis(G, rows[..., None], -2), 0)
    K = np.zeros((batch, n + p + count, n + p + count))
    K[:, :n, :n] = P
    K[:, n : n + p, :n], K[:, :n, n : n + p] = A, A.swapaxes(-1, -2)
    K[:, n + p :, :n], K[:, :n, n + p :] = C, C.swapaxes(-1, -2)
    padding = np.arange(n + p, n + p + count)
    K[:, padding, padding] = ~live
    right = np.zeros((batch, n + p + count, 1))
    right[:, :n, 0] = x_bar
    u = np.linalg.solve(K, right)[..., 0]
    u_x, u_nu = u[:, :n], u[:, n : n + p]
    u_multiplier = np.zeros_like(h)
    np.put_along_axis(u_multiplier, rows, np.where(live, u[:, n + p :], 0), -1)
    return (
        -(outer(u_x, x) + outer(x, u_x)) / 2,
        -u_x,
        -(outer(nu, u_x) + outer(u_nu, x)),
        u_nu,
        -(outer(multiplier, u_x) + outer(u_multiplier, x)),
        u_multiplier,
    )
