"""Cone programs by Clarabel, an interior-point method, and then to the last digits by Newton's method.

An interior point ends at s'z = mu > 0, which leaves x accurate to about the square root of mu where activity is weak.
From there the semismooth Newton iteration on the residual F of the cone program converges quadratically where the
solution is regular. A step is kept only where it lowers the residual, and ends with (s, z) = (proj_K(v), proj_K(v) - v)
for v = s - z, so that membership of the cones and complementarity hold exactly, whatever the dtype.

Reference: Goulart and Chen, Clarabel: an interior-point solver for conic programs with quadratic objectives, 2024;
Ali, Wong and Kolter, A semismooth Newton method for fast, generic convex programming, 2017.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from declarative.runtime.cone import ConePoint, ConeProgram
from declarative.runtime.cone_kkt import newton_step, on_host, take
from declarative.runtime.errors import LayerError
from declarative.runtime.problem import Problem, Solved, Solver
from declarative.runtime.status import Status

GAP = 1e-10
"""Clarabel's absolute and relative gap and feasibility, whatever the tolerance: what Newton's method starts from."""

TOLERANCE = {torch.float64: 1e-9}
"""Largest relative KKT residual of a solved instance, by dtype of the data.

What the implicit function theorem says holds at a solution; at a residual of 1e-6 a gradient can be wrong by percents.
"""

COARSE = 1e-6
"""The same in float32 and below, whose data are no more accurate."""

INACCURATE = 1e3
"""Multiple of the tolerance up to which a point is called inaccurate."""


@dataclass(frozen=True)
class Clarabel(Solver):
    """Solves each instance of a `ConeProgram` on the CPU in float64; needs the package ``clarabel``.

    ``tolerance``: largest relative KKT residual (`ConeProgram.relative_residual`) of a solved instance; None takes 1e-9
    in float64 and 1e-6 in float32. It judges points and does not change them, so that what is solved stays so under a
    looser one. ``max_iterations``: Clarabel's. ``refinements``: most Newton steps after it. Statuses: an instance whose
    data are not all finite is ``NOT_FINITE`` and never handed to the solver; certificates give ``INFEASIBLE`` and
    ``UNBOUNDED``; any other end is ``SOLVED``, ``INACCURATE`` up to 1e3 times the tolerance, or ``MAX_ITERATIONS``.
    """

    tolerance: float | None = None
    max_iterations: int = 200
    refinements: int = 8

    def solve(self, problem: Problem) -> Solved:
        if not isinstance(problem, ConeProgram):
            raise TypeError(f"Clarabel solves a ConeProgram, not a {type(problem).__name__}")
        package = _import_clarabel()
        batch = problem.batch_shape
        program = on_host(problem, batch)
        runs = self._run_all(package, program, batch.numel())
        columns = list(zip(*runs, strict=True)) if runs else [(), (), (), (), ()]
        sizes = (problem.pattern.n, problem.pattern.m, problem.pattern.m)
        point = ConePoint(*(_stack(values, size) for values, size in zip(columns[:3], sizes, strict=True)))
        status = torch.tensor(columns[3], dtype=torch.int8)
        iterations = torch.tensor(columns[4], dtype=torch.int32)
        point, residual = self._refine(program, point, status)
        like = problem.q
        tolerance = TOLERANCE.get(like.dtype, COARSE) if self.tolerance is None else self.tolerance
        status = _judge(status, residual, tolerance)
        return Solved(
            tuple(part.reshape(*batch, part.shape[-1]).to(like.device, like.dtype) for part in point),
            status.reshape(batch).to(like.device),
            iterations.reshape(batch).to(like.device),
            residual.reshape(batch).to(like.device, like.dtype),
        )

    def _run_all(self, package: ModuleType, program: ConeProgram, count: int) -> list[_Run]:
        compressed = _Compressed(package, program)
        settings = self._settings(package)

        def run(i: int) -> _Run:
            return compressed.run(i, settings)

        threads = min(torch.get_num_threads(), count)
        if threads <= 1:
            return [run(i) for i in range(count)]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(run, range(count)))

    def _settings(self, package: ModuleType) -> Any:
        settings = package.DefaultSettings()
        settings.verbose = False
        settings.max_iter = self.max_iterations
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = GAP
        # Its decomposition of sparse semidefinite cones completes the dual only approximately.
        settings.chordal_decomposition_enable = False
        settings.max_threads = 1
        return settings

    def _refine(self, program: ConeProgram, point: ConePoint, status: Tensor) -> tuple[ConePoint, Tensor]:
        """The point after Newton steps where they help, and its relative residual."""
        best = ConePoint(*(part.clone() for part in point))
        residual = program.relative_residual(best).broadcast_to(status.shape).clone().nan_to_num(torch.inf, torch.inf)
        candidates = torch.tensor([_is_point(Status(code)) for code in status.tolist()], dtype=torch.bool)
        live = (candidates & residual.isfinite()).nonzero()[:, 0]
        for _ in range(self.refinements):
            if not live.numel():
                break
            part = take(program, live)
            trial = _complementary(part, newton_step(part, ConePoint(*(p[live] for p in best))))
            reached = part.relative_residual(trial).nan_to_num(torch.inf, torch.inf).broadcast_to(live.shape)
            better = reached < residual[live]
            promising = better & (reached < residual[live] / 2) & (reached > 4 * torch.finfo(torch.float64).eps)
            for kept, new in zip(best, trial, strict=True):
                kept[live[better]] = new[better]
            residual[live[better]] = reached[better]
            live = live[promising]
        return best, residual


_Run = tuple[Any, Any, Any, int, int]


class _Compressed:
    """The pattern in the compressed columns that Clarabel reads, and one solve of it per instance."""

    def __init__(self, package: ModuleType, program: ConeProgram) -> None:
        pattern = program.pattern
        self._package, self._program = package, program
        self._P = _columns_of(pattern.P_rows, pattern.P_columns, pattern.n)
        self._A = _columns_of(pattern.A_rows, pattern.A_columns, pattern.n)
        self._cones = [_clarabel_cone(package, kind, value) for kind, value in _expanded(pattern.cones)]
        self._data = [t.numpy() for t in program.tensors]

    def run(self, i: int, settings: Any) -> _Run:
        """x, z, s, the status and the number of iterations of instance i."""
        n, m = self._program.pattern.n, self._program.pattern.m
        P, q, A, b = (values if values.ndim == 1 else values[i] for values in self._data)
        if not all(np.isfinite(values).all() for values in (P, q, A, b)):
            return np.full(n, np.nan), np.full(m, np.nan), np.full(m, np.nan), int(Status.NOT_FINITE), 0
        P_matrix, A_matrix = _compressed(P, self._P, (n, n)), _compressed(A, self._A, (m, n))
        solution = self._package.DefaultSolver(P_matrix, q, A_matrix, b, self._cones, settings).solve()
        status = _status(str(solution.status))
        return np.array(solution.x), np.array(solution.z), np.array(solution.s), int(status), solution.iterations


def _columns_of(rows: tuple[int, ...], columns: tuple[int, ...], width: int) -> tuple[Any, Any, Any]:
    """The order of the values by column and row, their row indices, and where each column starts."""
    order = np.lexsort((rows, columns)) if rows else np.empty(0, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(np.bincount(np.array(columns, dtype=np.int64), minlength=width))])
    return order, np.array(rows, dtype=np.int64)[order], starts


def _compressed(values: Any, places: tuple[Any, Any, Any], shape: tuple[int, int]) -> Any:
    order, indices, starts = places
    return scipy.sparse.csc_matrix((values[order], indices, starts), shape=shape)


def _expanded(specs: tuple[tuple[str, int | float], ...]) -> list[tuple[str, int | float]]:
    """The cones with ("exp", k) written as k cones, and without those that have no rows."""
    cones: list[tuple[str, int | float]] = []
    for kind, value in specs:
        if kind == "exp":
            cones.extend([("exp", 1)] * int(value))
        elif value:
            cones.append((kind, value))
    return cones


def _clarabel_cone(package: ModuleType, kind: str, value: int | float) -> Any:
    if kind == "exp":
        return package.ExponentialConeT()
    if kind == "pow":
        return package.PowerConeT(value)
    makers = {
        "zero": package.ZeroConeT,
        "nonneg": package.NonnegativeConeT,
        "soc": package.SecondOrderConeT,
        "psd": package.PSDTriangleConeT,
    }
    return makers[kind](int(value))


def _status(name: str) -> Status:
    """Clarabel's name for the end of a run."""
    if name == "Solved":
        return Status.SOLVED
    if name.endswith("PrimalInfeasible"):
        return Status.INFEASIBLE
    if name.endswith("DualInfeasible"):
        return Status.UNBOUNDED
    if name in ("MaxIterations", "MaxTime"):
        return Status.MAX_ITERATIONS
    return Status.INACCURATE


def _is_point(status: Status) -> bool:
    """Whether the run ended at an approximate solution, not at a certificate or nowhere."""
    return status in (Status.SOLVED, Status.INACCURATE, Status.MAX_ITERATIONS)


def _judge(status: Tensor, residual: Tensor, tolerance: float) -> Tensor:
    """The status by the residual after refinement, however the solver named its end, unless that was a certificate."""
    point = torch.tensor([_is_point(Status(code)) for code in status.tolist()], dtype=torch.bool)
    verdict = torch.full_like(status, Status.MAX_ITERATIONS)
    verdict[residual <= INACCURATE * tolerance] = Status.INACCURATE
    verdict[residual <= tolerance] = Status.SOLVED
    return torch.where(point, verdict, status)


def _complementary(program: ConeProgram, point: ConePoint) -> ConePoint:
    """The point with s in K, z in K* and s'z = 0 exactly, by the Moreau decomposition of s - z."""
    v = point.s - point.z
    s = program.pattern.cone.project(v)
    return ConePoint(point.x, s - v, s)


def _stack(values: Any, size: int) -> Tensor:
    return torch.from_numpy(np.stack(values)) if values else torch.empty(0, size, dtype=torch.float64)


def _import_clarabel() -> ModuleType:
    try:
        import clarabel
    except ImportError as error:
        raise LayerError(
            "this layer solves a cone program and needs the package clarabel: pip install clarabel"
        ) from error
    package: ModuleType = clarabel
    return package
