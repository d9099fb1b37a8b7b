"""Turns that go round the candidates of one case, each in a process of its own, and what is read off them.

The processes are there together and one of them works at a time; this one waits for it. A layer's time is so that of a
program which uses that layer, whatever threads, memory and settings the others leave behind. The turns go round the
candidates, so that whatever else the machine does falls on all alike, and times are compared turn by turn: the ratio of
two candidates is the median of the ratios within the rounds that both took part in. A candidate gets as many rounds as
fit its share of the time; one whose call alone exceeds that is left at one.

The answers of the first call and of the last are compared with the exact one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import final

from benchmarks.apart import Apart, FailedError
from benchmarks.calling import Caller, turn_seconds
from benchmarks.candidates.candidate import Candidate, Kind
from benchmarks.cases import DOUBLE, EXACT, Answer, Case, Tolerance
from benchmarks.reference import gradient_error, x_error


@dataclass(frozen=True)
class Effort:
    """How long is measured: ``seconds`` for each candidate of a case, in at most ``rounds`` rounds."""

    seconds: float
    rounds: int


@dataclass(frozen=True)
class Row:
    """What was measured of one candidate. Times in seconds; empty where ``reason`` says why there are none."""

    name: str
    kind: Kind
    turns: dict[int, float] = field(default_factory=dict)
    """Round to the turn's time."""
    x_error: float = math.inf
    gradient_error: float = math.inf
    tolerance: Tolerance = EXACT[DOUBLE]
    reason: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.turns.values())

    @property
    def least(self) -> float:
        return min(self.turns.values())

    @property
    def measured(self) -> bool:
        return bool(self.turns)

    @property
    def exact(self) -> bool:
        return self.measured and self.x_error <= self.tolerance.x and self.gradient_error <= self.tolerance.gradient


def ratio(row: Row, to: Row) -> float:
    """How many times longer ``row`` takes: the median over the rounds that both took part in."""
    common = row.turns.keys() & to.turns.keys()
    if not common:
        return row.median / to.median
    return statistics.median(row.turns[k] / to.turns[k] for k in common)


@final
class Crew:
    """The processes of the candidates of a section, each begun when its candidate is first measured, and again where it
    has ended; all of them end on leaving the context."""

    def __init__(self) -> None:
        self._processes: dict[Candidate, Apart] = {}

    def of(self, candidate: Candidate) -> Apart:
        process = self._processes.get(candidate)
        if process is None or not process.alive:
            process = self._processes[candidate] = Apart(Caller())
        return process

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.end()


@dataclass
class _Runner:
    """A candidate that can be called, and what is known of it so far."""

    candidate: Candidate
    process: Apart
    turns: dict[int, float] = field(default_factory=dict)
    step: int = 1
    """Takes part in every ``step``-th round; in none where it is 0."""
    reason: str = ""

    def turn(self, number: int) -> None:
        if self.step and number % self.step == 0 and not self.reason:
            try:
                self.turns[number] = self.process.ask("turn")
            except FailedError as problem:
                self.reason = str(problem)

    def row(self, right: Answer) -> Row:
        try:
            answers: list[Answer] = [] if self.reason else self.process.ask("answered")
        except FailedError as problem:
            self.reason = str(problem)
        if self.reason:
            return Row(self.candidate.name, self.candidate.kind, reason=self.reason)
        return Row(
            self.candidate.name,
            self.candidate.kind,
            self.turns,
            max(x_error(answer.x, right.x) for answer in answers),
            max(gradient_error(answer.gradients, right.gradients) for answer in answers),
            EXACT[answers[0].x.dtype],
        )


def measure(
    case: Callable[[], Case],
    exact: Callable[[Candidate], Answer],
    candidates: Sequence[Candidate],
    effort: Effort,
    crew: Crew,
    told: Callable[[str], None] = lambda doing: None,
) -> list[Row]:
    """One row for each candidate, in their order; a candidate that fails has its reason in place of times.

    ``case`` makes the case, the same in every process; ``exact`` gives the answer that a candidate should give, of so
    many instances as are compared; ``told`` is called with what is being done, while no candidate works.
    """
    right = [exact(candidate) for candidate in candidates]
    runners: list[_Runner] = []
    for candidate, answer in zip(candidates, right, strict=True):
        told(candidate.name)
        runners.append(_ready(case, candidate, len(answer.x), effort, crew))
    for number in range(effort.rounds):
        told(f"round {number + 1} of {effort.rounds}")
        for runner in runners:
            runner.turn(number)
    return [runner.row(answer) for runner, answer in zip(runners, right, strict=True)]


def _ready(case: Callable[[], Case], candidate: Candidate, compared: int, effort: Effort, crew: Crew) -> _Runner:
    """The candidate prepared and called, or with the reason why it cannot be; in so many rounds as its time allows."""
    runner = _Runner(candidate, crew.of(candidate))
    try:
        seconds = runner.process.ask("prepare", case, candidate, compared)
    except FailedError as problem:
        runner.reason = str(problem)
        return runner
    if seconds > effort.seconds:
        runner.turns, runner.step = {0: seconds}, 0
        return runner
    affordable = max(1, int(effort.seconds / turn_seconds(seconds)))
    runner.step = max(1, -(-effort.rounds // affordable))
    return runner
