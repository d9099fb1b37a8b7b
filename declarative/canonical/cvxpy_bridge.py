"""The one place that knows cvxpy: a parametric program to the sparse maps of a cone program, in Clarabel's conventions.

    minimise  1/2 x'Px + q'x + d   subject to  Ax + s = b,  s in K

cvxpy reduces the problem once, with its parameters symbolic, and yields the tensors of theta -> (P, q, d, A, b). Where
the variables and the duals lie in x and z is found by handing cvxpy a solution whose entries are their own numbers: its
own inverse of the reduction then says which number went where. That is exact, takes no knowledge of the reductions in
between, and shows it if a constraint has no row of its own, as those that cvxpy gives to some solvers directly.

cvxpy takes seconds to import, so it is imported when a program first needs it.

Reference: Agrawal, Verschueren, Diamond and Boyd, A rewriting system for convex optimization problems, 2018.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import prod, sqrt
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from declarative.canonical.cvxpy_problem import BridgeError, PosedVariable, pose
from declarative.canonical.instantiate import Relation
from declarative.canonical.parametrise import ParametricProgram

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Placed:
    """Entries of an array, row by row, in a solution vector: entry i is ``scale[i] * vector[column[i]]``.

    A column of -1 is an entry that is always zero.
    """

    shape: tuple[int, ...]
    column: Ints
    scale: Floats


@dataclass(frozen=True)
class ConeTensors:
    """The cone program. The matrices map (theta, 1) to values, their last column being the constant part.

    ``P`` has a row per entry i + n j of the n x n matrix, both triangles; ``A`` a row per entry i + m j of the
    m x (n + 1) matrix [A b]; ``q`` a row per entry of (q, d).
    """

    n: int
    m: int
    cones: tuple[tuple[str, int | float], ...]
    P: sp.coo_array
    q: sp.coo_array
    A: sp.coo_array
    variables: tuple[Placed, ...]
    duals: tuple[Placed, ...]


def cone_tensors(program: ParametricProgram) -> ConeTensors:
    """The cone program of a parametric program; raises `BridgeError` with cvxpy's reason if it is none."""
    import cvxpy as cp

    posed = pose(cp, program)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data, chain, inverse = posed.problem.get_problem_data(cp.CLARABEL, enforce_dpp=True, solver_opts={})
    except (cp.error.DCPError, cp.error.DPPError, cp.error.SolverError, ValueError, ArithmeticError) as error:
        raise BridgeError(str(error)) from error
    except NotImplementedError as error:
        raise BridgeError("cvxpy has no canonical form for a function as it is used here") from error
    reduced = data["param_prob"]
    n, m = int(reduced.x.size), int(reduced.constr_size)
    if reduced.dir_cones or reduced.lower_bounds is not None or reduced.upper_bounds is not None:
        raise BridgeError("cvxpy left constraints outside the cone program")
    order = _theta_order(posed.parameters, reduced.param_id_to_col)
    # The sign of a variable's numbers follows its attribute, onto which cvxpy projects what it returns.
    solution, negative = (chain.invert(_numbered(n, m, sign), inverse) for sign in (1.0, -1.0))
    none: sp.coo_array = sp.coo_array((n * n, int(order[-1]) + 1))
    return ConeTensors(
        n,
        m,
        _cones(reduced.cone_dims),
        none if reduced.P is None else _in_order(reduced.P, order),
        _in_order(reduced.q, order),
        _in_order(reduced.A, order),
        tuple(
            _placed_variable(variable, (negative if variable.free.is_nonpos() else solution).primal_vars)
            for variable in posed.variables
        ),
        tuple(
            _placed_dual(c, r, solution.dual_vars) for c, r in zip(posed.constraints, program.relations, strict=True)
        ),
    )


def _theta_order(parameters: tuple[Any, ...], first_column: dict[int, int]) -> Ints:
    """Position in (theta, 1) of each column of cvxpy's tensors, where a parameter lies column by column.

    A parameter that cvxpy does not list has cancelled; nothing depends on it.
    """
    total = sum(parameter.size for parameter in parameters)
    listed = sum(parameter.size for parameter in parameters if parameter.id in first_column)
    order = np.full(listed + 1, total, dtype=np.int64)
    start = 0
    for parameter in parameters:
        if parameter.id in first_column:
            column = first_column[parameter.id]
            by_row = np.arange(start, start + parameter.size).reshape(parameter.shape)
            order[column : column + parameter.size] = by_row.ravel(order="F")
        start += parameter.size
    return order


def _in_order(tensor: Any, order: Ints) -> sp.coo_array:
    """The tensor with its columns in the order of theta, entries that cancel taken out."""
    coo = sp.coo_array(tensor)
    row, column = coo.coords
    ordered = sp.coo_array((coo.data, (row, order[column])), shape=(coo.shape[0], int(order[-1]) + 1))
    ordered.sum_duplicates()
    ordered.eliminate_zeros()
    return ordered


def _numbered(n: int, m: int, sign: float) -> SimpleNamespace:
    """What Clarabel would return, were every entry of the solution its own number, counted from 1."""
    x, z = sign * np.arange(1.0, n + 1), np.arange(1.0, m + 1)
    return SimpleNamespace(x=x, z=z, status="Solved", obj_val=0.0, solve_time=0.0, iterations=0)


def _cones(dims: Any) -> tuple[tuple[str, int | float], ...]:
    if dims.pnd:
        raise BridgeError("power cones of more than three dimensions are not supported")
    cones: list[tuple[str, int | float]] = [("zero", dims.zero), ("nonneg", dims.nonneg)]
    cones += [("soc", size) for size in dims.soc] + [("psd", order) for order in dims.psd]
    cones += [("exp", dims.exp)] + [("pow", float(alpha)) for alpha in dims.p3d]
    return tuple((kind, int(value) if kind != "pow" else value) for kind, value in cones if value)


def _placed_variable(posed: PosedVariable, values: dict[int, Any]) -> Placed:
    """Where a variable lies in x. Its numbers are negative where cvxpy projects it onto what is not positive."""
    flat = np.ravel(np.asarray(values.get(posed.free.id, ())), order="C")
    columns = np.append(np.rint(np.abs(flat)).astype(np.int64) - 1, -1)
    if flat.size != posed.free.size or np.any(columns[:-1] < 0):
        raise BridgeError("cvxpy dropped a variable")
    return Placed(posed.shape, columns[posed.places], np.ones(posed.places.size))


def _placed_dual(constraint: Any, relation: Relation, values: dict[int, Any]) -> Placed:
    """Where the dual of a constraint lies in z. A semidefinite one has its off-diagonals times sqrt 2 there."""
    shape = relation.shape
    if not prod(shape):
        return Placed(shape, np.empty(0, dtype=np.int64), np.empty(0))
    if constraint.id not in values:
        raise BridgeError("cvxpy dropped a constraint")
    flat = np.ravel(np.asarray(values[constraint.id]), order="C")
    scale = np.ones(flat.size)
    if relation.kind == "psd":
        scale = np.where(np.eye(shape[0], dtype=bool), 1.0, 1 / sqrt(2)).ravel()
    place = flat / scale - 1
    if np.abs(place - np.rint(place)).max() > 1e-6:
        raise BridgeError("cvxpy combines several rows into one dual")
    return Placed(shape, np.rint(place).astype(np.int64), scale)
