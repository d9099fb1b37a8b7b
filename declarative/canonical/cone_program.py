"""The cone form: a program at fixed sizes as a cone program whose data are affine in one vector theta.

    minimise  1/2 x'Px + q'x + d   subject to  Ax + s = b,  s in K,       (P, q, d, A, b) = affine maps of theta

theta is the entries of `ConeForm.theta`, each flattened row by row, end to end. Variables and duals of the program are
constant linear maps of x and of z. The duals follow L = f + nu'(lhs - rhs) + lambda'(...) for the minimisation form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from declarative.canonical.aliases import without_aliases
from declarative.canonical.cvxpy_bridge import ConeTensors, Placed, cone_tensors
from declarative.canonical.cvxpy_problem import BridgeError
from declarative.canonical.implied_signs import without_implied_signs
from declarative.canonical.instantiate import Relation, instantiate, numbers
from declarative.canonical.parametrise import parametrise
from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError, Label
from declarative.ir.expression import Expression
from declarative.ir.program import Program

Floats = NDArray[np.float64]
_NO_ROWS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class SparseMap:
    """``value[row] = constant[row] + sum coefficient * argument[column]``, row by row, no place twice.

    ``entries``: rows, columns and coefficients. ``constant``: the rows that have one, with their number.
    """

    rows: int
    columns: int
    entries: tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]
    constant: tuple[tuple[int, float], ...] = ()

    def __call__(self, argument: Floats) -> Floats:
        """The values, (rows,), at one argument (columns,)."""
        row, column, coefficient = self.entries
        value = np.zeros(self.rows)
        for place, number in self.constant:
            value[place] = number
        np.add.at(value, np.array(row, dtype=int), np.array(coefficient) * argument[np.array(column, dtype=int)])
        return value


@dataclass(frozen=True)
class ThetaEntry:
    """One piece of theta: an expression of parameters alone, computed before the solve."""

    name: str
    expression: Expression
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Recovered:
    """A variable as a map of x, or a constraint's dual as a map of z; entries row by row."""

    name: str
    shape: tuple[int, ...]
    map: SparseMap


@dataclass(frozen=True)
class ConeForm:
    """A parametric cone program with a fixed pattern.

    ``P_rows``, ``P_columns``: places of P's values, upper triangle. ``A_rows``, ``A_columns``: of A's. ``cones``:
    ("zero", rows), ("nonneg", rows), ("soc", rows), ("psd", order), ("exp", count), ("pow", alpha), in order of the
    rows; semidefinite rows are the upper triangle by columns, off-diagonals times sqrt 2. ``sign`` is -1 for a
    maximisation: the optimal value in the sense written is ``sign * (1/2 x'Px + q'x + offset)``.
    """

    theta: tuple[ThetaEntry, ...]
    n: int
    m: int
    P_rows: tuple[int, ...]
    P_columns: tuple[int, ...]
    A_rows: tuple[int, ...]
    A_columns: tuple[int, ...]
    cones: tuple[tuple[str, int | float], ...]
    P: SparseMap
    q: SparseMap
    A: SparseMap
    b: SparseMap
    offset: SparseMap
    sign: int
    variables: tuple[Recovered, ...]
    duals: tuple[Recovered, ...]


def cone_form(program: Program, sizes: Mapping[str, int]) -> ConeForm:
    """The program as a cone program at these sizes of its dimensions; those with a default may be left out.

    Raises `DiagnosticError` where a size is missing or does not fit (E601 to E604), and where the program is not convex
    or needs a cone that is not supported (E605).
    """
    objective = program.objective
    if objective.expression is None or objective.local:
        raise DiagnosticError([_declined(program, "only `minimize` and `maximize` of a convex problem have one")])
    instance = instantiate(program, sizes)
    maximise = objective.sense == "maximize"
    parametric = parametrise(instance, maximise=maximise)
    try:
        tensors = without_implied_signs(without_aliases(cone_tensors(parametric)))
    except BridgeError as error:
        raise DiagnosticError([_declined(program, str(error))]) from error
    theta = tuple(ThetaEntry(e.symbol.name, e.expression, numbers(e.symbol.shape)) for e in parametric.theta)
    n, m = tensors.n, tensors.m
    P_places, P = _coefficients(_upper(tensors.P, n), n)
    A_places, A = _coefficients(_rows_of(tensors.A, 0, m * n, -1.0), m)
    return ConeForm(
        theta,
        n,
        m,
        *P_places,
        *A_places,
        tensors.cones,
        P,
        _vector(_rows_of(tensors.q, 0, n, 1.0)),
        A,
        _vector(_rows_of(tensors.A, m * n, m * (n + 1), 1.0)),
        _vector(_rows_of(tensors.q, n, n + 1, 1.0)),
        -1 if maximise else 1,
        tuple(
            Recovered(v.name, p.shape, _recovering(p, n))
            for v, p in zip(program.variables, tensors.variables, strict=True)
        ),
        _duals(program, parametric.relations, instance.dual_shapes, tensors),
    )


def _declined(program: Program, reason: str) -> Diagnostic:
    at = program.objective.at
    return Diagnostic(
        "E605",
        f"`{program.name}` has no conic form",
        Label(at, "the problem stated here") if at else None,
        notes=(reason.strip(),),
    )


def _rows_of(tensor: sp.coo_array, first: int, last: int, factor: float) -> sp.coo_array:
    row, column = tensor.coords
    kept = (row >= first) & (row < last)
    return sp.coo_array(
        (factor * tensor.data[kept], (row[kept] - first, column[kept])), shape=(last - first, tensor.shape[1])
    )


def _upper(tensor: sp.coo_array, n: int) -> sp.coo_array:
    """P + P' over two, its upper triangle alone."""
    row, column = tensor.coords
    i, j = row % n, row // n
    place = np.minimum(i, j) + n * np.maximum(i, j)
    half = np.where(i == j, 1.0, 0.5)
    upper = sp.coo_array((half * tensor.data, (place, column)), shape=tensor.shape)
    upper.sum_duplicates()
    upper.eliminate_zeros()
    return upper


def _coefficients(tensor: sp.coo_array, height: int) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], SparseMap]:
    """Places (rows, columns) of a matrix's entries that are not always zero, and the map from theta to their values."""
    row, column = tensor.coords
    places, position = np.unique(row, return_inverse=True)
    compact = sp.coo_array((tensor.data, (position, column)), shape=(places.size, tensor.shape[1]))
    return (_ints(places % height), _ints(places // height)), _vector(compact)


def _vector(tensor: sp.coo_array) -> SparseMap:
    """A tensor over (theta, 1) as a map of theta."""
    row, column = tensor.coords
    order = np.lexsort((column, row))
    row, column, data = row[order], column[order], tensor.data[order]
    columns = tensor.shape[1] - 1
    linear = column < columns
    return SparseMap(
        tensor.shape[0],
        columns,
        (_ints(row[linear]), _ints(column[linear]), tuple(map(float, data[linear]))),
        tuple((int(i), float(c)) for i, c in zip(row[~linear], data[~linear], strict=True)),
    )


def _recovering(placed: Placed, columns: int) -> SparseMap:
    (rows,) = np.nonzero(placed.column >= 0)
    entries = (_ints(rows), _ints(placed.column[rows]), tuple(map(float, placed.scale[rows])))
    return SparseMap(placed.column.size, columns, entries)


def _duals(
    program: Program,
    relations: tuple[Relation, ...],
    dual_shapes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...],
    tensors: ConeTensors,
) -> tuple[Recovered, ...]:
    """One dual per constraint, indices first; of a two-sided one, that of the upper side less that of the lower."""
    placed_relations = list(zip(relations, tensors.duals, strict=True))
    duals = []
    for position, (lengths, shape) in enumerate(dual_shapes):
        size = prod(shape)
        rows, columns, coefficients = [_NO_ROWS], [_NO_ROWS], [np.empty(0)]
        for relation, placed in placed_relations:
            if relation.constraint == position and size:
                side = -1.0 if relation.kind == "lower" else 1.0
                # A side between scalars, of a constraint that is not scalar, shares its dual evenly.
                share = side * placed.column.size / size
                rows.append(relation.instance * size + np.arange(size))
                columns.append(np.broadcast_to(placed.column, size))
                coefficients.append(np.broadcast_to(share * placed.scale, size))
        row, column, coefficient = np.concatenate(rows), np.concatenate(columns), np.concatenate(coefficients)
        held = column >= 0
        entries = (_ints(row[held]), _ints(column[held]), tuple(map(float, coefficient[held])))
        whole = (*lengths, *shape)
        duals.append(Recovered(program.constraint_name(position), whole, SparseMap(prod(whole), tensors.m, entries)))
    return tuple(duals)


def _ints(array: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(array.tolist())
