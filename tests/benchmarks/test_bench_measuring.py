"""Turns, shares of time, marks and reasons, with candidates whose times and errors are known, in their processes."""

from __future__ import annotations

import os
import pickle
import signal
import time
from functools import cache, partial
from pathlib import Path

import pytest
import torch

from benchmarks import calling
from benchmarks.candidates.candidate import Call, Candidate, Kind, UnavailableError
from benchmarks.cases import EXACT, SINGLE, Answer, Case, quadratic_program
from benchmarks.measuring import Crew, Effort, Row, measure, ratio
from benchmarks.reference import of_program

MAKE = partial(quadratic_program, 2, 4, 3, 1)


@cache
def exactly() -> Answer:
    """Worked out here and given to the candidates: their processes begin faster so."""
    return of_program(MAKE()).answer


class Clock:
    """Time that passes in calls only, for the process of one candidate."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return time.process_time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def note(file: Path | None, text: str) -> None:
    if file is not None:
        with file.open("a") as lines:
            lines.write(f"{text}\n")


def noted(file: Path) -> list[str]:
    return file.read_text().splitlines()


def lasting(case: Case, name: str, seconds: float, answer: Answer, order: Path | None) -> Call:
    clock = calling.time = Clock()  # nobody else's: this is called in the candidate's process

    def call() -> Answer:
        clock.now += seconds
        note(order, name)
        return answer

    return call


def candidate(
    name: str,
    seconds: float = 1e-3,
    x: float = 0.0,
    gradient: float = 0.0,
    last: float = 0.0,
    order: Path | None = None,
) -> Candidate:
    """Answers after ``seconds``, x wrong by so much, and by ``last`` in the last instance, and notes its name at each
    call."""
    found = exactly().x + x
    found[-1] += last
    answer = Answer(found, tuple(g * (1 + gradient) for g in exactly().gradients))
    prepare = partial(lasting, name=name, seconds=seconds, answer=answer, order=order)
    return Candidate(name, Kind.LAYER, prepare)


USUAL = Effort(0.2, 4)


def rows(*candidates: Candidate, effort: Effort = USUAL, compared: int = 2) -> dict[str, Row]:
    right = exactly().first(compared)
    with Crew() as crew:
        return {row.name: row for row in measure(MAKE, lambda c: right, candidates, effort, crew)}


def test_wrong_answers_are_measured_and_marked() -> None:
    found = rows(
        candidate("right"),
        candidate("x", x=1e-3),
        candidate("gradient", gradient=1e-3),
        candidate("nan", x=float("nan")),
    )
    assert all(row.measured for row in found.values())
    assert [name for name, row in found.items() if row.exact] == ["right"]
    assert found["x"].x_error == pytest.approx(1e-3 / max(1.0, float(exactly().x.abs().max())))
    assert found["gradient"].gradient_error == pytest.approx(1e-3)


def test_as_many_instances_are_compared_as_are_known() -> None:
    wrong_in_the_last = candidate("last", last=1.0)
    assert not rows(wrong_in_the_last)["last"].exact
    assert rows(wrong_in_the_last, compared=1)["last"].exact


def test_no_more_is_sent_than_is_compared() -> None:
    whole = Answer(torch.zeros(4096, 10), (torch.zeros(4096, 100),))
    assert len(pickle.dumps(whole.first(1))) < len(pickle.dumps(whole)) / 100


def test_turns_go_round(tmp_path: Path) -> None:
    order = tmp_path / "order"
    rows(candidate("a", 0.6, order=order), candidate("b", 0.6, order=order), effort=Effort(2.0, 3))
    assert noted(order) == ["a", "a", "b", "b"] + ["a", "b"] * 3


def test_a_long_call_has_fewer_rounds_and_a_very_long_one_a_single_one(tmp_path: Path) -> None:
    order = tmp_path / "order"
    seconds = {"a": 0.0015, "b": 0.07, "c": 0.3, "d": 0.6, "e": 4.0}
    found = rows(*(candidate(name, s, order=order) for name, s in seconds.items()), effort=Effort(0.5, 6))
    assert {name: list(row.turns) for name, row in found.items()} == {
        "a": [0, 1, 2, 3, 4, 5],
        "b": [0, 2, 4],
        "c": [0],
        "d": [0],
        "e": [0],
    }
    calls = noted(order)
    assert calls.count("a") == 2 + 6 * (11 + 6)  # 16 ms of untimed calls and 8 ms of timed ones in a turn
    assert [calls.count(name) for name in "bcde"] == [2 + 3 * (1 + 1), 2 + (1 + 1), 2, 1]
    assert [found[name].median for name in "abcde"] == pytest.approx(list(seconds.values()))


def any_answer(case: Case) -> Answer:
    return Answer(torch.zeros_like(case.cotangent), tuple(map(torch.zeros_like, case.parameters)))


def missing(case: Case) -> Call:
    raise ModuleNotFoundError("No module named 'peer'", name="peer")


def refusing(case: Case) -> Call:
    raise UnavailableError("too large")


def breaking(case: Case) -> Call:
    def call() -> Answer:
        raise ValueError("singular\n matrix")

    return call


def leaving(case: Case) -> Call:
    os._exit(3)


def killed(case: Case, after: int) -> Call:
    """Ended by the system at a later call, as for want of memory."""
    left = iter(range(after))

    def call() -> Answer:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return any_answer(case)

    return call


def worn_out(case: Case) -> Call:
    left = iter(range(3))

    def call() -> Answer:
        if next(left, None) is None:
            raise RuntimeError("worn out")
        return any_answer(case)

    return call


def test_a_failure_is_a_row_with_its_reason_and_leaves_the_others() -> None:
    made = [Candidate(f.__name__, Kind.LAYER, f) for f in (missing, refusing, breaking, leaving, worn_out)]
    ended = [Candidate(f"killed after {n}", Kind.LAYER, partial(killed, after=n)) for n in (1, 3)]
    found = rows(candidate("first"), *made, *ended, candidate("last"))
    assert {row.name: row.reason for row in found.values()} == {
        "first": "",
        "missing": "not installed (peer)",
        "refusing": "too large",
        "breaking": "ValueError: singular matrix",
        "leaving": "its process ended with status 3",
        "worn_out": "RuntimeError: worn out",
        "killed after 1": "its process ended with signal 9 (SIGKILL)",
        "killed after 3": "its process ended with signal 9 (SIGKILL)",
        "last": "",
    }
    for name in ("first", "last"):
        assert found[name].exact
        assert len(found[name].turns) == 4
    assert not any(row.measured for row in found.values() if row.reason)


def sleeping(case: Case) -> Call:
    def call() -> Answer:
        time.sleep(600)
        return any_answer(case)

    return call


def test_nobody_is_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = candidate("prompt")
    with Crew() as crew:
        crew.of(prompt).ask("prepare", MAKE, prompt, 2)  # what is started once may take longer
        monkeypatch.setattr("benchmarks.apart.PATIENCE", 2.0)
        made = [Candidate("sleeping", Kind.LAYER, sleeping), prompt]
        asleep, other = measure(MAKE, lambda c: exactly(), made, USUAL, crew)
        assert crew.of(prompt) is not crew.of(made[0])
    assert asleep.reason == "ended: no answer in 2 s"
    assert other.exact


def pid(case: Case, file: Path) -> Call:
    note(file, str(os.getpid()))
    return lambda: any_answer(case)


def test_a_candidate_keeps_its_process_for_a_section(tmp_path: Path) -> None:
    a, b = (Candidate(name, Kind.LAYER, partial(pid, file=tmp_path / name)) for name in "ab")
    dying = Candidate("dying", Kind.LAYER, partial(killed, after=3))
    with Crew() as crew:
        for _ in range(2):
            assert [row.measured for row in measure(MAKE, lambda c: exactly(), [a, dying, b], USUAL, crew)] == [1, 0, 1]
    pids = [*noted(tmp_path / "a"), *noted(tmp_path / "b")]
    assert pids == [pids[0]] * 2 + [pids[2]] * 2
    assert len({*pids, str(os.getpid())}) == 3


def test_an_interrupt_ends_every_process(tmp_path: Path) -> None:
    made = [Candidate(name, Kind.LAYER, partial(pid, file=tmp_path / "pids")) for name in "ab"]

    def told(doing: str) -> None:
        if doing.startswith("round 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Crew() as crew:
        measure(MAKE, lambda c: exactly(), made, USUAL, crew, told)
    for one in noted(tmp_path / "pids"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(one), 0)


class Restless(Clock):
    """The time of a process of which some thread is busy after a call, the first ten times that one looks."""

    def __init__(self, order: Path) -> None:
        self.order, self.looks = order, 0

    def process_time(self) -> float:
        self.looks += 1
        if self.looks == 12:
            note(self.order, "rests")
        return min(self.looks, 10)


def restless(case: Case, order: Path) -> Call:
    clock = calling.time = Restless(order)

    def call() -> Answer:
        clock.now += 0.6
        clock.looks = 0
        note(order, "called")
        return any_answer(case)

    return call


def test_a_turn_is_over_when_the_process_has_come_to_rest(tmp_path: Path) -> None:
    order = tmp_path / "order"
    busy = Candidate("busy", Kind.LAYER, partial(restless, order=order))
    rows(busy, candidate("next", 0.6, order=order), effort=Effort(2.0, 2))
    assert noted(order) == ["called", "called", "rests", "next", "next"] + ["called", "rests", "next"] * 2


def single(case: Case) -> Call:
    return lambda: any_answer(case.to(SINGLE))


def test_single_precision_is_judged_as_such() -> None:
    assert rows(Candidate("single", Kind.LAYER, single))["single"].tolerance == EXACT[SINGLE]


def test_ratios_are_taken_within_rounds() -> None:
    ours = Row("ours", Kind.OURS, {0: 1.0, 1: 10.0, 2: 1.0})
    other = Row("other", Kind.LAYER, {0: 2.0, 1: 20.0, 5: 100.0})
    assert ratio(other, ours) == 2.0
    assert ratio(Row("apart", Kind.LAYER, {7: 3.0}), ours) == 3.0
