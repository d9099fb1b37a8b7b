"""Turns that go round the candidates of one case, in one process, and what is read off them.

In a turn a candidate makes an untimed call, which brings its data and threads back, and then timed calls back to back
for a few milliseconds; the median of those is the turn's time. A candidate whose call is long makes one, timed. The
turns go round the candidates, so that whatever else the machine does falls on all alike, and times are compared turn by
turn: the ratio of two candidates is the median of the ratios within the rounds that both took part in. A candidate gets
as many rounds as fit its share of the time; one whose call alone exceeds that is left at one.

The answers of the first call and of the last are compared with the exact one.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.candidates.candidate import Call, Candidate, Kind, UnavailableError
from benchmarks.cases import DOUBLE, EXACT, Answer, Case, Tolerance
from benchmarks.reference import gradient_error, x_error

TURN = 0.004
"""Seconds of timed calls in a turn."""
LONG = 0.02
"""Seconds of a call beyond which a turn is one call."""
PATIENCE = 3.0
"""Seconds of a candidate's first call, which also makes what is made once, beyond which it remains the only one."""


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


@dataclass
class _Runner:
    """A candidate that can be called, and what is known of it so far."""

    candidate: Candidate
    call: Call
    answers: list[Answer]
    turns: dict[int, float] = field(default_factory=dict)
    step: int = 1
    """Takes part in every ``step``-th round."""
    seconds: float = 0.0
    reason: str = ""

    def turn(self, number: int) -> None:
        times: list[float] = []
        if self.seconds < LONG:
            self.call()
        begin = time.perf_counter()
        while not times or (self.seconds < LONG and time.perf_counter() - begin < TURN):
            start = time.perf_counter()
            answer = self.call()
            times.append(time.perf_counter() - start)
        self.turns[number] = statistics.median(times)
        self.answers[1:] = [answer]


def measure(
    case: Case,
    exact: Callable[[Candidate], Answer],
    candidates: Sequence[Candidate],
    effort: Effort,
    told: Callable[[str], None] = lambda name: None,
) -> list[Row]:
    """One row for each candidate, in their order; a candidate that fails has its reason in place of times.

    ``exact`` gives the answer that a candidate should give; ``told`` is called with what is being done.
    """
    found: dict[str, _Runner | Row] = {}
    for candidate in candidates:
        told(candidate.name)
        found[candidate.name] = _ready(case, candidate, effort)
    runners = [one for one in found.values() if isinstance(one, _Runner)]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(effort.rounds):
            told(f"round {number + 1} of {effort.rounds}")
            for runner in runners:
                if runner.step and number % runner.step == 0 and not runner.reason:
                    _attempt(runner, number)
    finally:
        if collecting:
            gc.enable()
    return [_row(one, exact) if isinstance(one, _Runner) else one for one in found.values()]


def _ready(case: Case, candidate: Candidate, effort: Effort) -> _Runner | Row:
    """The candidate prepared and called, twice where there is time, or the row that says why it cannot be."""
    try:
        call = candidate.prepare(case if candidate.dtype is None else case.to(candidate.dtype))
        answer, seconds = _timed(call)
        answers = [answer]
        if seconds <= PATIENCE:
            again, seconds = _timed(call)
            answers.append(again)
        runner = _Runner(candidate, call, answers, seconds=seconds)
        if seconds > effort.seconds:
            runner.turns, runner.step = {0: seconds}, 0
            return runner
        turn = runner.seconds if runner.seconds >= LONG else runner.seconds + max(TURN, runner.seconds)
        affordable = max(1, int(effort.seconds / turn))
        runner.step = max(1, -(-effort.rounds // affordable))
        return runner
    except Exception as problem:
        return Row(candidate.name, candidate.kind, reason=_reason(problem))


def _timed(call: Call) -> tuple[Answer, float]:
    start = time.perf_counter()
    answer = call()
    return answer, time.perf_counter() - start


def _attempt(runner: _Runner, number: int) -> None:
    try:
        runner.turn(number)
    except Exception as problem:
        runner.reason = _reason(problem)


def _row(runner: _Runner, exact: Callable[[Candidate], Answer]) -> Row:
    candidate = runner.candidate
    if runner.reason:
        return Row(candidate.name, candidate.kind, reason=runner.reason)
    right = exact(candidate)
    return Row(
        candidate.name,
        candidate.kind,
        runner.turns,
        max(x_error(answer.x, right.x) for answer in runner.answers),
        max(gradient_error(answer.gradients, right.gradients) for answer in runner.answers),
        EXACT[runner.answers[0].x.dtype],
    )


def _reason(problem: Exception) -> str:
    """One line that says what went wrong."""
    if isinstance(problem, ImportError):
        return f"not installed ({problem.name or problem})"
    text = " ".join(str(problem).split())
    shown = text if len(text) <= 160 else text[:157] + "..."
    return shown if isinstance(problem, UnavailableError) else f"{type(problem).__name__}: {shown}"
