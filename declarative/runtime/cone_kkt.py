"""The derivative of a cone program's residual at a point, instance by instance: Newton steps and adjoint solves.

With D = D proj_K(s - z), dF/dw has the three block rows (P, A', 0), (A, 0, I), (0, D, I - D). Rows on which D = I bind
nothing and drop out (their dz is r3, their u3 is known once u1 is); over the others, marked a, s is eliminated:

    M = [ P             A_a'  ]
        [ -(I - D) A_a   D    ]

    (dF/dw) d = r     M  (dx, dz_a) = (r1 - A_f' dz_f,  r3_a - (I - D) r2_a),     ds = r2 - A dx,
    (dF/dw)'u = c     M' (u1, u3_a) = (cx - A'cs,  cz_a),                         u2 = cs - (I - D) u3.

So the same factorisation serves both, and where a system is singular the least-norm answer is the one in (u1, u3_a).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from declarative.runtime.cone import ConePattern, ConePoint, ConeProgram
from declarative.runtime.cones import Blocks
from declarative.runtime.least_norm import Array, Factored

DENSE = 300
"""Largest order of M that is factored as a dense matrix."""


def on_host(program: ConeProgram, batch: torch.Size) -> ConeProgram:
    """The same program in float64 on the CPU with one batch dimension, of the given batch; shared data stay shared."""
    return program.with_tensors([_flat(t.detach(), batch) for t in program.tensors])


def take(program: ConeProgram, index: Tensor) -> ConeProgram:
    """The instances at ``index`` of a program with one batch dimension."""
    return program.with_tensors([t if t.dim() == 1 else t[index] for t in program.tensors])


def _flat(tensor: Tensor, batch: torch.Size) -> Tensor:
    tensor = tensor.to("cpu", torch.float64)
    if tensor.shape[:-1].numel() == 1:
        return tensor.reshape(tensor.shape[-1])
    return tensor.expand(*batch, tensor.shape[-1]).reshape(-1, tensor.shape[-1])


Columns = tuple[Array, Array, Array]


class LinearisedCone:
    """dF/dw at the points of a host program (see `on_host`), one instance at a time.

    ``v`` (B, m) is s - z, of relative accuracy ``precision``.
    """

    def __init__(self, program: ConeProgram, v: Tensor, precision: float | None = None) -> None:
        self.pattern: ConePattern = program.pattern
        self.D: Blocks = self.pattern.cone.derivative(v, precision)
        self._P, self._A = program.P.numpy(), program.A.numpy()
        self._binding = (~self.D.free().expand(v.shape)).numpy()
        self._rows = [rows.numpy() for rows in self.D.rows]
        self._blocks = [block.numpy() for block in self.D.blocks]
        self._P_places, self._A_places = self.pattern.p_places.numpy(), self.pattern.a_places.numpy()

    def solve(self, i: int, right: Columns) -> Columns:
        """d = (dx, dz, ds) with (dF/dw) d = right, for instance i; right-hand sides are columns."""
        r1, r2, r3 = right
        system = self._system(i)
        a, A, slope = system.binding, system.A, system.slope
        dz = r3.copy()
        reduced = system.factored.solve(np.concatenate([r1 - A[~a].T @ dz[~a], r3[a] - slope @ r2[a]]))
        dx, dz[a] = reduced[: len(r1)], reduced[len(r1) :]
        return dx, dz, r2 - A @ dx

    def solve_transposed(self, i: int, right: Columns) -> Columns:
        """u with (dF/dw)'u = right, for instance i; right-hand sides are columns."""
        cx, cz, cs = right
        system = self._system(i)
        a, A, slope = system.binding, system.A, system.slope
        reduced = system.factored.solve(np.concatenate([cx - A.T @ cs, cz[a]]), transposed=True)
        u1, u2, u3 = reduced[: len(cx)], cs.copy(), cz - A @ reduced[: len(cx)]
        u3[a] = reduced[len(cx) :]
        u2[a] -= slope @ u3[a]
        return u1, u2, u3

    def _system(self, i: int) -> _System:
        n, m = self.pattern.n, self.pattern.m
        build = _dense if n + m <= DENSE else _sparse
        rows, columns, values = self._P_places
        P = build([(_row(self._P, i)[values], rows, columns)], (n, n))
        A = build([(_row(self._A, i), *self._A_places)], (m, n))
        blocks = zip(self._blocks, self._rows, strict=True)
        D = build([(block[i], rows[:, :, None], rows[:, None, :]) for block, rows in blocks], (m, m))
        return _System(P, A, D, self._binding[i])


class _System:
    """M of one instance, factored, with the parts its right-hand sides need; all dense or all sparse."""

    def __init__(self, P: Any, A: Any, D: Any, binding: Any) -> None:
        self.binding, self.A = binding, A
        D, A_a = D[binding][:, binding], A[binding]
        if isinstance(D, np.ndarray):
            self.slope = np.eye(len(D)) - D
            M = np.concatenate([np.concatenate([P, A_a.T], 1), np.concatenate([-(self.slope @ A_a), D], 1)])
        else:
            self.slope = scipy.sparse.eye_array(D.shape[0], format="csr") - D
            M = scipy.sparse.block_array([[P, A_a.T], [-(self.slope @ A_a), D]], format="csc")
        self.factored = Factored(M)


_Entries = list[tuple[Array, Any, Any]]


def _dense(entries: _Entries, shape: tuple[int, int]) -> Any:
    """The matrix with the given (values, rows, columns), each place once."""
    matrix = np.zeros(shape)
    for values, rows, columns in entries:
        matrix[rows, columns] = values
    return matrix


def _sparse(entries: _Entries, shape: tuple[int, int]) -> Any:
    spread = [np.broadcast_arrays(*entry) for entry in entries]
    values, rows, columns = (
        np.concatenate([part.reshape(-1) for part in parts]) for parts in zip(*spread, strict=True)
    )
    return scipy.sparse.csr_array((values, (rows, columns)), shape=shape)


def _row(values: Array, i: int) -> Array:
    return values if values.ndim == 1 else values[i]


def newton_step(program: ConeProgram, point: ConePoint) -> ConePoint:
    """One semismooth Newton step on F for every instance of a host program; NaN where there is none to be had."""
    linearised = LinearisedCone(program, point.s - point.z)
    F = [part.numpy() for part in program.residual(point)]
    steps = [torch.full_like(part, torch.nan) for part in point]
    for i in range(len(point.x)):
        if not all(np.isfinite(part[i]).all() for part in F):
            continue
        F1, F2, F3 = (-part[i][:, None] for part in F)
        for step, value in zip(steps, linearised.solve(i, (F1, F2, F3)), strict=True):
            step[i] = torch.from_numpy(value[:, 0])
    return ConePoint(*(part + step for part, step in zip(point, steps, strict=True)))
