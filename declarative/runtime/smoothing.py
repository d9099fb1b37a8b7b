"""A linear or quadratic program with a small quadratic term: minimise f(x) + mu/2 |x|^2 over the same set.

The solution of a linear program is a vertex, constant in the cost but for jumps, and its derivative is zero wherever it
exists. With mu > 0 the solution x_mu is unique and Lipschitz continuous in the cost, with constant 1/mu: the projection
of -c/mu onto the set. For a solution x of the problem itself

    f(x_mu) - f(x)  <=  mu/2 (|x|^2 - |x_mu|^2),

and x_mu tends to the solution of least norm as mu falls to zero; for a linear program it is that solution from some
mu > 0 on, and there it is constant in the cost again. |x| counts the program's own variables, not those that the
compiler adds for maxima, absolute values and cones.

Reference: Mangasarian and Meyer, Nonlinear perturbation of linear programs, 1979; Wilder, Dilkina and Tambe, Melding
the data-decisions pipeline, 2019.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import torch

from declarative.runtime.affine_map import AffineMap
from declarative.runtime.cone import ConePattern, ConeProgram
from declarative.runtime.errors import InputError
from declarative.runtime.problem import Problem
from declarative.runtime.quadratic import DenseQP
from declarative.runtime.sizes import evaluate

if TYPE_CHECKING:
    from declarative.runtime.layer import Layer

Shapes = Sequence[Sequence[str]]


def smoothed(kind: type[Layer], name: str, problem: Problem, sizes: Mapping[str, int], mu: float) -> Problem:
    """The problem with mu/2 |x|^2 added, x being the variables that a layer's class says are the program's own.

    Raises `InputError` where ``problem`` is neither a quadratic nor a cone program.
    """
    if isinstance(problem, DenseQP):
        return _quadratic(problem, added(kind.auxiliary, sizes), mu)
    if isinstance(problem, ConeProgram):
        if torch.compiler.is_compiling():
            raise InputError(
                f"{name}: smooth is {mu!r}, which torch's compiler does not trace in a cone program; "
                "expected the term in the objective"
            )
        return _cone(problem, kind.variables, mu)
    raise InputError(
        f"{name}: smooth is {mu!r}, but a solution of this problem is a stationary point or a root, not a vertex; "
        "expected 0, or the term in the objective"
    )


def added(auxiliary: Shapes, sizes: Mapping[str, int]) -> int:
    """The number of entries at the end of x that the compiler has added."""
    return sum(torch.Size([evaluate(size, sizes) or 0 for size in shape]).numel() for shape in auxiliary)


def _quadratic(problem: DenseQP, auxiliary: int, mu: float) -> DenseQP:
    own = problem.q.new_full((problem.n,), mu)
    if auxiliary:
        own = torch.cat([own[: problem.n - auxiliary], own.new_zeros(auxiliary)])
    return problem.with_tensors([problem.P + torch.diag_embed(own), *problem.tensors[1:]])


@dataclass(frozen=True)
class Squares:
    """1/2 |x|^2 of the program's own variables as 1/2 w'Ww + r'w of the cone program's: a pattern with the places of
    both, and the values of W there and of r."""

    pattern: ConePattern
    places: tuple[float, ...]
    gradient: tuple[float, ...]


def _cone(problem: ConeProgram, variables: tuple[AffineMap, ...], mu: float) -> ConeProgram:
    squares = _squares(problem.pattern, variables)
    P, q, A, b = problem.tensors
    more = len(squares.places) - P.shape[-1]
    P = torch.cat([P, P.new_zeros(*P.shape[:-1], more)], -1) + mu * P.new_tensor(squares.places)
    if any(squares.gradient):
        q = q + mu * q.new_tensor(squares.gradient)
    return ConeProgram(squares.pattern, P=P, q=q, A=A, b=b)


@functools.lru_cache(maxsize=64)
def _squares(pattern: ConePattern, variables: tuple[AffineMap, ...]) -> Squares:
    """With x = Mw + k for each variable, W = M'M and r = M'k; the places that P has already come first."""
    values = dict.fromkeys(zip(pattern.P_rows, pattern.P_columns, strict=True), 0.0)
    gradient = [0.0] * pattern.n
    for variable in variables:
        terms: dict[int, list[tuple[int, float]]] = {}
        for row, column, coefficient in zip(*variable.entries, strict=True):
            terms.setdefault(row, []).append((column, float(coefficient)))
        for row, found in terms.items():
            shift = variable.constant_at(row)
            for (i, a), (j, b) in combinations_with_replacement(sorted(found), 2):
                values[i, j] = values.get((i, j), 0.0) + a * b
            for i, a in found:
                gradient[i] += a * shift
    rows, columns = zip(*values, strict=True) if values else ((), ())
    return Squares(replace(pattern, P_rows=rows, P_columns=columns), tuple(values.values()), tuple(gradient))
