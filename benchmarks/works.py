"""What is measured: the works of the tables, and the points of the curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks import limits, reference
from benchmarks.candidates import (
    bisection,
    cvxpylayers,
    daqp,
    jaxopt,
    known_active_set,
    moreau,
    ours,
    proxsuite,
    qpth,
    simplex,
)
from benchmarks.candidates.candidate import Candidate
from benchmarks.cases import DOUBLE, SINGLE, Case, quadratic_program, scores
from benchmarks.limits import Limit, Machine
from benchmarks.reference import Exact

LAYERS = (
    ours.LAYER,
    ours.FUNCTION,
    moreau.LAYER,
    proxsuite.DEFAULT,
    proxsuite.TIGHT,
    qpth.LAYER,
    cvxpylayers.MOREAU,
    cvxpylayers.CLARABEL,
    cvxpylayers.DEFAULT,
    daqp.LOOP,
    known_active_set.SOLVE,
)
"""Everything that takes a quadratic program."""

CURVE = (
    ours.LAYER,
    moreau.LAYER,
    proxsuite.TIGHT,
    qpth.LAYER,
    cvxpylayers.MOREAU,
    cvxpylayers.CLARABEL,
    daqp.LOOP,
)
"""One setting of each, for the curves: the more accurate one where the two differ little in time."""

COMPARED = 32
"""Instances of a long batch that are compared with the exact answer."""


@dataclass(frozen=True)
class Work:
    """One table of candidates, or one point of a curve."""

    section: str
    title: str
    case: Callable[[], Case]
    """Can be pickled; each candidate's process makes the case for itself, and the same one."""
    candidates: tuple[Candidate, ...]
    exact: Callable[[Case, Candidate], Exact]
    limit: Callable[[Machine, Case, Exact], Limit]
    at: float = 0.0
    """Where on the axis of its curve."""


def exact_program(case: Case, candidate: Candidate) -> Exact:
    """Of the data in the candidate's precision."""
    return reference.of_program(case if candidate.dtype is None else case.to(candidate.dtype))


def exact_rows(case: Case, candidate: Candidate, weights: np.ndarray | float, upper: float, total: float) -> Exact:
    """Of a projection, or of the softmax that stands beside it."""
    if candidate is simplex.SOFTMAX:
        return reference.of_softmax(case)
    n = case.cotangent.shape[-1]
    return reference.of_projection(case, np.broadcast_to(weights, (n,)), 0.0, upper, total)


def rounded_program(batch: int, n: int, m: int, p: int) -> Case:
    """In float64, of numbers that float32 has."""
    return quadratic_program(batch, n, m, p).to(SINGLE).to(DOUBLE)


def program_limit(machine: Machine, case: Case, exact: Exact) -> Limit:
    return limits.of_program(machine, case, exact.active)


def row_limit(machine: Machine, case: Case, exact: Exact) -> Limit:
    return limits.of_rows(machine, case)


def programs(section: str, sizes: tuple[int, int, int], batch: int, candidates: tuple[Candidate, ...] = LAYERS) -> Work:
    title = f"({', '.join(map(str, sizes))}), batch {batch}"
    return Work(section, title, partial(quadratic_program, batch, *sizes), candidates, exact_program, program_limit)


def shared(sizes: tuple[int, int, int], batch: int, candidates: tuple[Candidate, ...]) -> Work:
    title = f"({', '.join(map(str, sizes))}), batch {batch}, one P, A, b, G, h"
    case = partial(quadratic_program, batch, *sizes, shared=True)
    return Work("shared", title, case, candidates, exact_program, program_limit)


def rows(
    title: str,
    n: int,
    candidates: tuple[Candidate, ...],
    weights: np.ndarray | float = 1.0,
    upper: float = np.inf,
    total: float = 1.0,
) -> Work:
    exact = partial(exact_rows, weights=weights, upper=upper, total=total)
    return Work("simplex", f"{title}, 128 x {n}, float32", partial(scores, 128, n), candidates, exact, row_limit)


def sparsemax(n: int) -> Work:
    candidates = (ours.SPARSEMAX, ours.SPARSEMAX_FUNCTION, simplex.ENTMAX_PARTIAL, simplex.ENTMAX, simplex.SOFTMAX)
    return rows("sparsemax", n, candidates)


def tables(quick: bool) -> Iterator[Work]:
    """The works of the tables; when quick the small ones."""
    sizes = [(10, 5, 2), (50, 50, 0), (100, 100, 0), (100, 50, 20)]
    for one in sizes[: 2 if quick else None]:
        yield programs("batch", one, 128, (*LAYERS, jaxopt.LAYER))
    for one in sizes[: 1 if quick else None]:
        yield programs("single", one, 1)
    if not quick:
        yield programs("large", (500, 200, 50), 4)
    per_instance = ours.REPEATED
    some = (ours.LAYER, per_instance, moreau.LAYER, proxsuite.TIGHT, qpth.LAYER, qpth.SHARED, daqp.LOOP)
    yield shared((50, 50, 0), 128, some)
    yield shared((50, 0, 20), 128, (ours.LAYER, per_instance, moreau.LAYER, proxsuite.TIGHT, daqp.LOOP))
    yield Work(
        "precision",
        "(50, 50, 0), batch 128",
        partial(rounded_program, 128, 50, 50, 0),
        (ours.LAYER, ours.SINGLE, qpth.LAYER, qpth.SINGLE, known_active_set.SOLVE, known_active_set.SINGLE),
        exact_program,
        program_limit,
    )
    for n in (10, 1000, 10000):
        yield sparsemax(n)
    n = 1000
    yield rows(
        "capped simplex, k = n/10",
        n,
        (ours.CAPPED_SIMPLEX, bisection.CAPPED_SIMPLEX, simplex.SOFTMAX),
        1.0,
        1.0,
        n / 10,
    )
    yield rows(
        "box with budget",
        n,
        (ours.BOX_WITH_BUDGET, bisection.BOX_WITH_BUDGET, simplex.SOFTMAX),
        ours.costs(n).numpy(),
        1.0,
        n / 10,
    )


def curves(quick: bool) -> Iterator[Work]:
    """The points of the curves, each curve from small to large."""
    batches = [1, 16, 256] if quick else [1, 4, 16, 64, 256, 1024, 4096]
    for sizes in [(10, 5, 2)] if quick else [(10, 5, 2), (50, 50, 0)]:
        for batch in batches:
            yield point(f"batch {sizes[0]}", sizes, batch, batch)
    for n in [10, 50] if quick else [10, 20, 50, 100, 200, 500, 1000]:
        yield point("size", (n, 2 * n // 5, n // 10), 4, n)


def point(section: str, sizes: tuple[int, int, int], batch: int, at: float) -> Work:
    """A point of a curve, of which the first instances are compared."""

    def exact(case: Case, candidate: Candidate) -> Exact:
        return exact_program(case.first(COMPARED if sizes[0] < 500 else 1), candidate)

    title = f"({', '.join(map(str, sizes))}), batch {batch}"
    return Work(section, title, partial(quadratic_program, batch, *sizes), CURVE, exact, program_limit, at)
