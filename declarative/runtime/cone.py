"""Cone programs with a fixed sparsity pattern.

    minimise  1/2 x'Px + q'x   subject to  Ax + s = b,  s in K,       dual z in K*.

The point is w = (x, z, s) and its residual, with the natural map of the complementarity s in K, z in K*, s'z = 0,

    F(w) = ( Px + q + A'z,   Ax + s - b,   s - proj_K(s - z) ),

one part per part of w. The third is the only one that is not linear, and the only one without data. With
D = D proj_K(s - z) the derivative is

    dF/dw = [ P  A'  0     ]
            [ A  0   I     ]
            [ 0  D   I - D ].

Reference: Busseti, Moursi and Boyd, Solution refinement at regular points of conic problems, 2019; Agrawal et al.,
Differentiating through a cone program, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Self

import torch
from torch import Tensor

from declarative.runtime.conditions import Conditions
from declarative.runtime.cone_conditions import conditions
from declarative.runtime.cones import ConeProduct, ConeSpec
from declarative.runtime.errors import InputError
from declarative.runtime.problem import Point, Problem, Stated


class ConePoint(NamedTuple):
    """A primal-dual point: x (*batch, n), z and s (*batch, m)."""

    x: Tensor
    z: Tensor
    s: Tensor


@dataclass(frozen=True)
class ConePattern:
    """Sizes, sparsity and cones of a cone program; everything about it that is not data.

    ``n``, ``m``: numbers of variables and of rows. ``P_rows``, ``P_columns``: the places of P's values, in the **upper
    triangle** (row <= column); an entry off the diagonal stands for both halves. ``A_rows``, ``A_columns``: the places
    of A's values. No place occurs twice. ``cones``: as `ConeProduct` reads them, in the order of A's rows.
    `InputError` where these do not fit together.
    """

    n: int
    m: int
    P_rows: tuple[int, ...]
    P_columns: tuple[int, ...]
    A_rows: tuple[int, ...]
    A_columns: tuple[int, ...]
    cones: tuple[ConeSpec, ...]
    text: str = field(init=False, repr=False, compare=False)
    """The fields as Python writes them, here because a compiler of torch cannot."""

    def __post_init__(self) -> None:
        for name in ("P_rows", "P_columns", "A_rows", "A_columns"):
            object.__setattr__(self, name, tuple(int(i) for i in getattr(self, name)))
        object.__setattr__(self, "cones", tuple((kind, value) for kind, value in self.cones))
        fields = (self.n, self.m, self.P_rows, self.P_columns, self.A_rows, self.A_columns, self.cones)
        object.__setattr__(self, "text", repr(fields))
        self._check_places("P", self.P_rows, self.P_columns, self.n)
        self._check_places("A", self.A_rows, self.A_columns, self.m)
        if any(i > j for i, j in zip(self.P_rows, self.P_columns, strict=True)):
            raise InputError("cone pattern: P is given by its upper triangle, but an entry lies below the diagonal")
        if self.cone.size != self.m:
            raise InputError(f"cone pattern: the cones take {self.cone.size} rows, but A has {self.m}")

    def _check_places(self, name: str, rows: Sequence[int], columns: Sequence[int], height: int) -> None:
        if len(rows) != len(columns):
            raise InputError(f"cone pattern: {name} has {len(rows)} row and {len(columns)} column indices")
        places = set(zip(rows, columns, strict=True))
        if len(places) != len(rows):
            raise InputError(f"cone pattern: a place of {name} occurs twice")
        if any(not (0 <= i < height and 0 <= j < self.n) for i, j in places):
            raise InputError(f"cone pattern: an entry lies outside the {height} x {self.n} matrix {name}")

    @cached_property
    def cone(self) -> ConeProduct:
        """K."""
        return ConeProduct(self.cones)

    @cached_property
    def a_places(self) -> Tensor:
        """Rows and columns of A's values, (2, nnzA), on the CPU."""
        return torch.tensor([self.A_rows, self.A_columns], dtype=torch.long).reshape(2, -1)

    @cached_property
    def p_places(self) -> Tensor:
        """Rows and columns of P's entries in both triangles, and the value each is, (3, entries), on the CPU."""
        upper = list(zip(self.P_rows, self.P_columns, range(len(self.P_rows)), strict=True))
        lower = [(j, i, k) for i, j, k in upper if i != j]
        return torch.tensor(upper + lower, dtype=torch.long).reshape(-1, 3).mT.contiguous()


class ConeProgram(Problem):
    """A batch of cone programs of one pattern.

    ``P`` (*batch, nnzP) and ``A`` (*batch, nnzA): values at the pattern's places. ``q`` (*batch, n), ``b`` (*batch, m).
    Leading dimensions broadcast, and what is shared is never copied. An infinite entry of ``b`` is not data: leave
    its row out. `InputError` for other sizes.
    """

    def __init__(self, pattern: ConePattern, *, P: Tensor, q: Tensor, A: Tensor, b: Tensor) -> None:
        self.pattern, self.P, self.q, self.A, self.b = pattern, P, q, A, b
        expected = {"P": len(pattern.P_rows), "q": pattern.n, "A": len(pattern.A_rows), "b": pattern.m}
        for (name, size), tensor in zip(expected.items(), self.tensors, strict=True):
            if tensor.dim() == 0 or tensor.shape[-1] != size:
                raise InputError(f"cone program: {name} has shape {tuple(tensor.shape)}, expected (*batch, {size})")

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.P, self.q, self.A, self.b)

    @property
    def core_ranks(self) -> tuple[int, ...]:
        return (1, 1, 1, 1)

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        P, q, A, b = tensors
        return type(self)(self.pattern, P=P, q=q, A=A, b=b)

    def point_sizes(self) -> tuple[int, ...]:
        return self.pattern.n, self.pattern.m, self.pattern.m

    def stated(self) -> Stated:
        return Stated("cone " + self.pattern.text)

    def residual(self, point: Point) -> Point:
        x, z, s = point
        return (
            self.p_times(x) + self.q + self.a_transposed_times(z),
            self.a_times(x) + s - self.b,
            s - self.pattern.cone.project(s - z),
        )

    def p_times(self, x: Tensor) -> Tensor:
        """P x, (*batch, n)."""
        rows, columns, values = self.pattern.p_places.to(x.device)
        return _accumulate(rows, self.P[..., values] * x[..., columns], self.pattern.n)

    def a_times(self, x: Tensor) -> Tensor:
        """A x, (*batch, m)."""
        rows, columns = self.pattern.a_places.to(x.device)
        return _accumulate(rows, self.A * x[..., columns], self.pattern.m)

    def a_transposed_times(self, z: Tensor) -> Tensor:
        """A'z, (*batch, n)."""
        rows, columns = self.pattern.a_places.to(z.device)
        return _accumulate(columns, self.A * z[..., rows], self.pattern.n)

    def p_dense(self) -> Tensor:
        """P as a matrix, both triangles, (*batch, n, n)."""
        rows, columns, values = self.pattern.p_places.to(self.P.device)
        n = self.pattern.n
        flat = _accumulate(rows * n + columns, self.P[..., values], n * n)
        return flat.reshape(*flat.shape[:-1], n, n)

    def a_dense(self) -> Tensor:
        """A as a matrix, (*batch, m, n)."""
        rows, columns = self.pattern.a_places.to(self.A.device)
        n, m = self.pattern.n, self.pattern.m
        flat = _accumulate(rows * n + columns, self.A, m * n)
        return flat.reshape(*flat.shape[:-1], m, n)

    def objective(self, x: Tensor) -> Tensor:
        """1/2 x'Px + q'x, (*batch)."""
        return (x * (self.p_times(x) / 2 + self.q)).sum(-1)

    def complementarity(self, point: Point) -> tuple[Tensor, Tensor]:
        _, z, s = point
        return self.pattern.cone.smallest_margin(s - z)

    def conditions(self, point: Point) -> Conditions:
        """The conditions of the implicit function theorem at a solution, measured densely in float64.

        ``licq_rows`` counts active directions, of which a cone may have several (a semidefinite cone of order k with a
        slack of rank r has (k - r)(k - r + 1)/2). ``complementarity`` is the distance of s - z from the nearest kink of
        the projection, for an inequality max(z_i, s_i); ``complementarity_row`` the first row of that cone in A. An
        instance whose point is not finite has NaN for margins.
        """
        return conditions(self, point)

    def relative_residual(self, point: Point) -> Tensor:
        """Largest entry of F, each part relative to the largest of its terms or to 1; (*batch)."""
        x, z, s = point
        stationarity, feasibility, complementarity = self.residual(point)
        parts = (
            (stationarity, (self.p_times(x), self.q, self.a_transposed_times(z))),
            (feasibility, (self.a_times(x), s, self.b)),
            (complementarity, (s, z)),
        )
        relative = [_largest(defect) / _scale(terms) for defect, terms in parts]
        return torch.maximum(torch.maximum(relative[0], relative[1]), relative[2])


def _accumulate(index: Tensor, terms: Tensor, size: int) -> Tensor:
    return terms.new_zeros(*terms.shape[:-1], size).index_add(-1, index, terms)


def _largest(vector: Tensor) -> Tensor:
    return vector.abs().amax(-1) if vector.shape[-1] else vector.new_zeros(vector.shape[:-1])


def _scale(terms: Sequence[Tensor]) -> Tensor:
    scale = _largest(terms[0]).clamp_min(1)
    for term in terms[1:]:
        scale = torch.maximum(scale, _largest(term))
    return scale
