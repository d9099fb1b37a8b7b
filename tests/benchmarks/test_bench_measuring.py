"""Turns, shares of time, marks and reasons, with candidates whose times and errors are known."""

from __future__ import annotations

import pytest
import torch

from benchmarks.candidates.candidate import Call, Candidate, Kind, UnavailableError
from benchmarks.cases import EXACT, SINGLE, Answer, Case, quadratic_program
from benchmarks.limits import Machine, program_flops
from benchmarks.measuring import Effort, Row, measure, ratio
from benchmarks.reference import of_program

CASE = quadratic_program(2, 4, 3, 1)
EXACTLY = of_program(CASE).answer


class Clock:
    """Time that passes only in calls."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("benchmarks.measuring.time", made)
    monkeypatch.setattr(Clock, "now", 0.0)
    return made


def candidate(name: str, seconds: float = 1e-3, x: float = 0.0, gradient: float = 0.0, **kept: list[str]) -> Candidate:
    """Answers after ``seconds``, wrong by so much, and notes its name at each call."""

    def prepare(case: Case) -> Call:
        def call() -> Answer:
            Clock.now += seconds
            for order in kept.values():
                order.append(name)
            return Answer(EXACTLY.x + x, tuple(g * (1 + gradient) for g in EXACTLY.gradients))

        return call

    return Candidate(name, Kind.LAYER, prepare)


USUAL = Effort(0.2, 4)


def rows(*candidates: Candidate, effort: Effort = USUAL) -> dict[str, Row]:
    return {row.name: row for row in measure(CASE, lambda c: EXACTLY, candidates, effort)}


def test_wrong_answers_are_measured_and_marked() -> None:
    found = rows(
        candidate("right"),
        candidate("x", x=1e-3),
        candidate("gradient", gradient=1e-3),
        candidate("nan", x=float("nan")),
    )
    assert all(row.measured for row in found.values())
    assert [name for name, row in found.items() if row.exact] == ["right"]
    assert found["x"].x_error == pytest.approx(1e-3 / max(1.0, float(EXACTLY.x.abs().max())))
    assert found["gradient"].gradient_error == pytest.approx(1e-3)


def test_turns_go_round() -> None:
    order: list[str] = []
    rows(candidate("a", 0.03, order=order), candidate("b", 0.03, order=order), effort=Effort(1.0, 3))
    assert order == ["a", "a", "b", "b"] + ["a", "b"] * 3


def test_a_long_call_has_fewer_rounds_and_a_very_long_one_a_single_one() -> None:
    order: list[str] = []
    made = [
        candidate(name, seconds, order=order) for name, seconds in [("a", 0.0015), ("b", 0.07), ("c", 0.3), ("d", 4.0)]
    ]
    found = rows(*made, effort=Effort(0.2, 6))
    assert {name: list(row.turns) for name, row in found.items()} == {
        "a": [0, 1, 2, 3, 4, 5],
        "b": [0, 3],
        "c": [0],
        "d": [0],
    }
    assert order.count("a") == 2 + 6 * (1 + 3)  # an untimed call and 4 ms of timed ones in a turn
    assert [order.count(name) for name in "bcd"] == [2 + 2, 2, 1]
    assert [found[name].median for name in "abcd"] == pytest.approx([0.0015, 0.07, 0.3, 4.0])


def test_a_failure_is_a_row_with_its_reason() -> None:
    def missing(case: Case) -> Call:
        raise ModuleNotFoundError("No module named 'peer'", name="peer")

    def refusing(case: Case) -> Call:
        raise UnavailableError("too large")

    def breaking(case: Case) -> Call:
        def call() -> Answer:
            raise ValueError("singular\n matrix")

        return call

    made = [Candidate(f.__name__, Kind.LAYER, f) for f in (missing, refusing, breaking)]
    found = rows(candidate("right"), *made)
    assert [row.reason for row in found.values()] == [
        "",
        "not installed (peer)",
        "too large",
        "ValueError: singular matrix",
    ]
    assert found["right"].exact
    assert not found["breaking"].exact


def test_a_failure_in_a_later_call_leaves_the_others() -> None:
    def prepare(case: Case) -> Call:
        left = iter(range(3))

        def call() -> Answer:
            Clock.now += 0.001
            if next(left, None) is None:
                raise RuntimeError("worn out")
            return EXACTLY

        return call

    found = rows(Candidate("short-lived", Kind.LAYER, prepare), candidate("right"))
    assert found["short-lived"].reason == "RuntimeError: worn out"
    assert len(found["right"].turns) == 4


def test_single_precision_is_judged_as_such() -> None:
    def prepare(case: Case) -> Call:
        def call() -> Answer:
            Clock.now += 0.001
            return Answer(EXACTLY.x.to(SINGLE), EXACTLY.gradients)

        return call

    single = Candidate("single", Kind.LAYER, prepare)
    assert rows(single)["single"].tolerance == EXACT[SINGLE]


def test_ratios_are_taken_within_rounds() -> None:
    ours = Row("ours", Kind.OURS, {0: 1.0, 1: 10.0, 2: 1.0})
    other = Row("other", Kind.LAYER, {0: 2.0, 1: 20.0, 5: 100.0})
    assert ratio(other, ours) == 2.0
    assert ratio(Row("apart", Kind.LAYER, {7: 3.0}), ours) == 3.0


def test_flops_count_what_a_factorisation_does() -> None:
    assert program_flops((100, 0, 0), 1, 0) == pytest.approx(3 * 100**3 / 3, rel=0.2)
    twice = program_flops((200, 200, 0), 10, 50) / program_flops((100, 100, 0), 10, 25)
    assert 7 < twice < 8


def test_the_limit_is_what_takes_longest() -> None:
    machine = Machine(1, {(SINGLE, 1): 1e9}, {1 << 20: 1e9}, 1e-5)
    assert machine.limit(1e9, 1 << 20, SINGLE, 1).bound == "flops"
    assert machine.limit(1e9, 1 << 20, SINGLE, 1).seconds == pytest.approx(1 + 1e-5)
    assert machine.limit(1.0, 1 << 20, SINGLE, 1).bound == "bytes"
    assert Machine(1, {(SINGLE, 1): 1e9}, {4096: 1e12}, 1e-5).limit(1.0, 8, SINGLE, 1).bound == "dispatch"


def test_peaks_are_measured_on_the_threads_asked_for() -> None:
    usual = torch.get_num_threads()
    machine = Machine(usual)
    assert 1e8 < machine.peak(SINGLE, 1) < 1e14
    assert torch.get_num_threads() == usual
    assert 1e8 < machine.bandwidth(1 << 16) < 1e14
    assert 1e-7 < machine.dispatch < 1e-2
