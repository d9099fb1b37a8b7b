"""Sign constraints that a cone of the program implies, taken out of it.

``y >= 0`` beside ``entr(y)`` says nothing new: the rows of the exponential cone hold y already. Kept, it would leave
the multiplier of y split between the two in no unique way, and an interior point between them. With s = Tx + t the
slacks of the rows, these are never negative:

    soc            s_0 and s_0 + s_i, s_0 - s_i, which is how sqrt, geo_mean, inv_pos and quad_over_lin hold theirs
    psd            the diagonal
    exp            s_1 and s_2 of (s_0, s_1, s_2), where s_1 exp(s_0 / s_1) <= s_2
    pow            s_0 and s_1 of (s_0, s_1, s_2), where s_0^a s_1^(1 - a) >= |s_2|

Where one of them is c x_j with a constant c, a row of the nonnegative cone that is c' x_j with c' of the same sign is
implied. Without it the feasible set is the same, and zero is a multiplier of the row: whatever another solution of the
dual has there may be moved to the cone's rows. So the row goes, and a dual that is read from it is zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from declarative.canonical.aliases import less_rows, moved, renumbered
from declarative.canonical.cvxpy_bridge import ConeTensors

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Combination = tuple[tuple[int, float], ...]


def without_implied_signs(tensors: ConeTensors) -> ConeTensors:
    """The same cone program without the rows ``x_j >= 0`` and ``x_j <= 0`` that its cones imply."""
    rows = _implied(tensors)
    if not rows.size:
        return tensors
    kept = ~np.isin(np.arange(tensors.m), rows)
    row = np.where(kept, np.cumsum(kept) - 1, -1)
    m = tensors.m - rows.size
    sizes = [(kind, int(size) - rows.size if kind == "nonneg" else size) for kind, size in tensors.cones]
    return replace(
        tensors,
        m=m,
        cones=tuple((kind, size) for kind, size in sizes if size),
        A=moved(
            less_rows(tensors.A, tensors.m, rows),
            m * (tensors.n + 1),
            lambda place: row[place % tensors.m] + m * (place // tensors.m),
        ),
        duals=tuple(renumbered(placed, row) for placed in tensors.duals),
    )


def _implied(tensors: ConeTensors) -> Ints:
    """The rows of the nonnegative cone that another cone implies."""
    first, count = _nonnegative_rows(tensors)
    combinations = list(_never_negative(tensors))
    if not count or not combinations:
        return np.empty(0, dtype=np.int64)
    slack, parametric = _slacks(tensors)
    of, rows, weights = zip(*((k, r, w) for k, c in enumerate(combinations) for r, w in c), strict=True)
    combine = sp.csr_array((weights, (of, rows)), shape=(len(combinations), tensors.m))
    held = _single_columns(combine @ slack, abs(combine) @ parametric.astype(float) > 0)
    mine = slice(first, first + count)
    signs = _single_columns(slack[mine], parametric[mine])
    return np.asarray(first + np.nonzero((signs != 0) & np.isin(signs, held[held != 0]))[0], dtype=np.int64)


def _nonnegative_rows(tensors: ConeTensors) -> tuple[int, int]:
    """The first row of the nonnegative cone and the number of its rows."""
    sizes = dict(tensors.cones)
    return int(sizes.get("zero", 0)), int(sizes.get("nonneg", 0))


def _never_negative(tensors: ConeTensors) -> Iterator[Combination]:
    """The sums of slacks, as rows and their weights, that membership of the cones makes nonnegative."""
    row = 0
    for kind, value in tensors.cones:
        if kind == "exp":
            for cone in range(int(value)):
                yield ((row + 3 * cone + 1, 1.0),)
                yield ((row + 3 * cone + 2, 1.0),)
            row += 3 * int(value)
        elif kind == "pow":
            yield ((row, 1.0),)
            yield ((row + 1, 1.0),)
            row += 3
        elif kind == "psd":
            for i in range(int(value)):
                yield ((row + i * (i + 3) // 2, 1.0),)
            row += int(value) * (int(value) + 1) // 2
        else:
            if kind == "soc":
                yield ((row, 1.0),)
                for i in range(1, int(value)):
                    yield ((row, 1.0), (row + i, 1.0))
                    yield ((row, 1.0), (row + i, -1.0))
            row += int(value)


def _slacks(tensors: ConeTensors) -> tuple[sp.csr_array, Bools]:
    """The constant part of [T t] in s = Tx + t, (m, n + 1), and which rows depend on the parameters besides."""
    place, argument = tensors.A.coords
    row, column = place % tensors.m, place // tensors.m
    constant = argument == tensors.A.shape[1] - 1
    parametric = np.zeros(tensors.m, dtype=bool)
    parametric[row[~constant]] = True
    entries = (tensors.A.data[constant], (row[constant], column[constant]))
    return sp.csr_array(entries, shape=(tensors.m, tensors.n + 1)), parametric


def _single_columns(forms: sp.csr_array, excluded: Bools) -> Ints:
    """For each row ``j + 1`` if it is c x_j, c > 0, ``-(j + 1)`` if c < 0, and 0 for any other or excluded row."""
    forms.eliminate_zeros()
    single = (np.diff(forms.indptr) == 1) & ~excluded
    at = forms.indptr[:-1][single]
    column = forms.indices[at].astype(np.int64)
    is_variable = column < forms.shape[1] - 1
    signs = np.zeros(forms.shape[0], dtype=np.int64)
    signs[single] = np.where(is_variable, (column + 1) * np.sign(forms.data[at]).astype(np.int64), 0)
    return signs
