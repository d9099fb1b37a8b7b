"""Quadratic programs of every family, each answered rightly or refused rightly; a hundred thousand of them when slow.

An instance counts as *solved* (its KKT residual, measured in numpy, is small and its value the known one), *certified*
(infeasible or unbounded, as it was made), *left* (the solver says that it is inaccurate or gave up) or *wrong*. Nothing
may be wrong, and no more than one in a thousand of a family left.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from declarative.runtime.native import library
from declarative.runtime.problem import Solved, Solver
from declarative.runtime.solvers.interior_point import InteriorPoint
from declarative.runtime.solvers.native_interior_point import NativeInteriorPoint
from declarative.runtime.status import Status
from tests.runtime.robustness.families import FAMILIES
from tests.runtime.robustness.judge import (
    clarabel_verdict,
    feasible_by_simplex,
    kkt_residual,
    objective,
    objective_size,
)
from tests.runtime.robustness.programs import INFEASIBLE, OPTIMAL, UNBOUNDED, Programs, mixed

SIZES = [
    (1, 0, 0),
    (1, 2, 1),
    (2, 3, 0),
    (3, 0, 1),
    (5, 4, 2),
    (6, 6, 9),
    (8, 6, 3),
    (10, 20, 0),
    (12, 5, 8),
    (20, 10, 5),
]
"""n, m, p: also none of either kind, more equalities than variables, and every remainder by the width of a tile."""
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}
CERTIFIED = {Status.INFEASIBLE: INFEASIBLE, Status.UNBOUNDED: UNBOUNDED}
LEFT = (Status.INACCURATE, Status.MAX_ITERATIONS)
MANY = 100_000
SHARE_IN_FLOAT32 = 0.1

IN_FLOAT64 = [pytest.param(NativeInteriorPoint(), torch.float64, id="native-float64")]
SOLVERS = [
    *IN_FLOAT64,
    pytest.param(NativeInteriorPoint(), torch.float32, id="native-float32"),
    pytest.param(InteriorPoint(), torch.float64, id="torch-float64"),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def counted(programs: Programs, solved: Solved, dtype: torch.dtype) -> Counter[str]:
    """How many are solved, certified, left and wrong; a wrong one also by a line that says what it is."""
    status, tolerance = solved.status.numpy(), TOLERANCE[dtype]
    point = [part.double().numpy() for part in solved.point]
    with np.errstate(all="ignore"):
        residual, value = kkt_residual(programs, *point), objective(programs, point[0])
        value_is_right = abs(value - programs.value) <= 100 * tolerance * objective_size(programs, point[0])
    counts: Counter[str] = Counter()
    for i in range(len(programs)):
        verdict, truth = Status(int(status[i])), programs.truth[i]
        if verdict == Status.SOLVED and truth == OPTIMAL and residual[i] <= tolerance and value_is_right[i]:
            counts["solved"] += 1
        elif verdict in CERTIFIED and CERTIFIED[verdict] == truth:
            counts["certified"] += 1
        elif verdict in LEFT:
            counts["left"] += 1
        else:
            at = f"{programs.family[i]}, n, m, p = {programs.shape}, instance {i}"
            counts["wrong"] += 1
            counts[
                f"wrong: {at}: {verdict.label}, residual {residual[i]:.1e}, value {value[i]} for {programs.value[i]}"
            ] += 1
    return counts


def assert_right(counts: Counter[str], most_left: float) -> None:
    total = sum(counts[k] for k in ("solved", "certified", "left", "wrong"))
    assert counts["wrong"] == 0, "\n".join(k for k in counts if k.startswith("wrong:"))
    assert counts["left"] <= most_left * total, counts


def batches(name: str, size: int, dtype: torch.dtype, shapes: list[tuple[int, int, int]]) -> Iterator[Programs]:
    for shape in shapes:
        rng = np.random.default_rng([zlib.crc32(name.encode()), *shape])
        yield FAMILIES[name](rng, size, *shape).rounded(dtype)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("solver", "dtype"), SOLVERS)
def test_a_few_of_every_family(name: str, solver: Solver, dtype: torch.dtype) -> None:
    counts: Counter[str] = Counter()
    for programs in batches(name, 3, dtype, SIZES if isinstance(solver, NativeInteriorPoint) else SIZES[1::2]):
        counts += counted(programs, solver.solve(programs.problem(dtype)), dtype)
    assert_right(counts, most_left=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_hundred_thousand(name: str, record_property: pytest.RecordProperty) -> None:
    each = MANY // len(FAMILIES) // len(SIZES) + 1
    counts: Counter[str] = Counter()
    for dtype, share in ((torch.float64, 1 - SHARE_IN_FLOAT32), (torch.float32, SHARE_IN_FLOAT32)):
        for programs in batches(name, int(each * share) + 1, dtype, SIZES):
            counts += counted(programs, NativeInteriorPoint().solve(programs.problem(dtype)), dtype)
    for kind in ("solved", "certified", "left", "wrong"):
        record_property(kind, counts[kind])
    assert_right(counts, most_left=1e-3)


@pytest.mark.parametrize("each", [2, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", [(5, 4, 2), (9, 7, 3)], ids=str)
def test_families_mixed_in_one_batch_and_one_by_one(shape: tuple[int, int, int], each: int) -> None:
    """An infeasible, unbounded or badly scaled neighbour changes nothing: each answer is right in any company."""
    rng = np.random.default_rng(5)
    whole = mixed([make(rng, each, *shape) for make in FAMILIES.values()], rng)
    solved = NativeInteriorPoint().solve(whole.problem())
    assert_right(counted(whole, solved, torch.float64), most_left=0.0)
    for i in range(0, len(whole), 3):
        alone = whole.take(slice(i, i + 1))
        assert_right(counted(alone, NativeInteriorPoint().solve(alone.problem()), torch.float64), most_left=0.0)


@pytest.mark.parametrize("each", [1, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_second_solver_agrees(name: str, each: int) -> None:
    """Clarabel, where it gives a verdict; HiGHS too on whether a point exists at all."""
    compared = 0
    for programs in batches(name, each, torch.float64, SIZES):
        solved = NativeInteriorPoint().solve(programs.problem())
        value = objective(programs, solved.point[0].numpy())
        size = objective_size(programs, solved.point[0].numpy())
        for i in range(len(programs)):
            verdict, second = Status(int(solved.status[i])), clarabel_verdict(programs, i)
            if verdict == Status.SOLVED and second.truth == OPTIMAL:
                compared += 1
                assert abs(value[i] - second.value) <= 1e-5 * (size[i] + abs(second.value) + 1e-3)
            if "scaled" not in name and verdict in (Status.SOLVED, Status.INFEASIBLE) and "narrow" not in name:
                assert feasible_by_simplex(programs, i) == (verdict == Status.SOLVED)
            if second.truth in (INFEASIBLE, UNBOUNDED):
                compared += 1
                assert CERTIFIED.get(verdict) == second.truth
    assert compared >= len(SIZES) // 2


@pytest.mark.parametrize("name", ["well_scaled", "crowded_vertex", "infeasible", "repeated_rows"])
def test_every_instruction_set(name: str) -> None:
    if library.library() is None:
        pytest.skip("installed without a compiler")
    try:
        for level in (2, 1, 0):
            library.limit_instructions(level)
            for programs in batches(name, 11, torch.float64, [(7, 9, 3), (12, 4, 0)]):
                assert_right(counted(programs, NativeInteriorPoint().solve(programs.problem()), torch.float64), 0.0)
    finally:
        library.limit_instructions(2)
