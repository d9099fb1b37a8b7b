"""Variables that a cone program merely renames, taken out of it.

cvxpy gives a quadratic form of anything but a whole variable a new variable t and the equality t == x[3], say: rows

    t_i - x_j = 0

with constant coefficients and no right-hand side. Both columns become one and the row goes; the rest of the program,
its duals included, is as it was. A model-predictive controller loses half of its variables and of its equalities so.
Rows that carry a dual of the program stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from declarative.canonical.cvxpy_bridge import ConeTensors, Placed

Ints = NDArray[np.int64]


def without_aliases(tensors: ConeTensors) -> ConeTensors:
    """The same cone program with one column for each group of columns that are always equal."""
    rows, first, second = _aliases(tensors)
    if not rows.size:
        return tensors
    column = _numbered_groups(tensors.n, first, second)
    row = np.cumsum(~np.isin(np.arange(tensors.m), rows)) - 1
    n, m = int(column.max()) + 1, tensors.m - rows.size
    kind, equalities = tensors.cones[0]
    remaining = equalities - rows.size
    # The last column of [A b] and the last entry of (q, d) are no variables.
    extended = np.append(column, n)
    return replace(
        tensors,
        n=n,
        m=m,
        cones=(*(((kind, remaining),) if remaining else ()), *tensors.cones[1:]),
        P=moved(tensors.P, n * n, lambda place: column[place % tensors.n] + n * column[place // tensors.n]),
        q=moved(tensors.q, n + 1, lambda place: extended[place]),
        A=moved(
            less_rows(tensors.A, tensors.m, rows),
            m * (n + 1),
            lambda p: row[p % tensors.m] + m * extended[p // tensors.m],
        ),
        variables=tuple(renumbered(placed, column) for placed in tensors.variables),
        duals=tuple(renumbered(placed, row) for placed in tensors.duals),
    )


def _aliases(tensors: ConeTensors) -> tuple[Ints, Ints, Ints]:
    """Rows that equate two columns, with these columns."""
    equalities = sum(int(size) for kind, size in tensors.cones if kind == "zero")
    place, argument = tensors.A.coords
    row, column = place % tensors.m, place // tensors.m
    order = np.argsort(row, kind="stable")
    row, column, argument, data = row[order], column[order], argument[order], tensors.A.data[order]
    start, count = np.searchsorted(row, np.arange(equalities)), np.bincount(row, minlength=tensors.m)[:equalities]
    named = np.concatenate([np.empty(0, dtype=np.int64), *(placed.column for placed in tensors.duals)])
    (pairs,) = np.nonzero((count == 2) & ~np.isin(np.arange(equalities), named))
    one, other = start[pairs], start[pairs] + 1
    constant = tensors.A.shape[1] - 1
    fits = (argument[one] == constant) & (argument[other] == constant) & (data[one] == -data[other])
    fits &= (column[one] < tensors.n) & (column[other] < tensors.n)
    return pairs[fits], column[one][fits], column[other][fits]


def _numbered_groups(n: int, first: Ints, second: Ints) -> Ints:
    """The number of each column's group, groups in order of their first column."""
    graph = sp.coo_array((np.ones(first.size), (first, second)), shape=(n, n))
    _, group = connected_components(graph, directed=False)
    _, appearance, group = np.unique(group, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(appearance))[group], dtype=np.int64)


def less_rows(tensor: sp.coo_array, m: int, rows: Ints) -> sp.coo_array:
    """A's tensor without the entries of these of its m rows, which keep their numbers."""
    place, argument = tensor.coords
    kept = ~np.isin(place % m, rows)
    return sp.coo_array((tensor.data[kept], (place[kept], argument[kept])), shape=tensor.shape)


def moved(tensor: sp.coo_array, height: int, to: Callable[[Ints], Ints]) -> sp.coo_array:
    """The entries at other places; those that meet add up, those that cancel go."""
    place, argument = tensor.coords
    moved = sp.coo_array((tensor.data, (to(place.astype(np.int64)), argument)), shape=(height, tensor.shape[1]))
    moved.sum_duplicates()
    moved.eliminate_zeros()
    return moved


def renumbered(placed: Placed, number: Ints) -> Placed:
    """Where the same entries lie once place i has become ``number[i]``; one that became -1 is zero from now on."""
    return replace(placed, column=np.where(placed.column >= 0, number[placed.column], -1))
