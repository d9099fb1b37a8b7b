"""A candidate in its own process: what is done once, turns of timed calls, and the answers of the first and the last.

A turn begins with untimed calls. A process that has slept while others had their turn comes back slowly: its data are
in no cache, the processors have slowed down, and the system may wake two threads on one processor and take some
milliseconds to part them, in which a call takes up to three times as long. Then there are timed calls back to back; the
median of those is the turn's time. A candidate whose call is long makes one, timed. No turn is over before the process
has come to rest: the threads of a pool look for more work for some milliseconds after the last, on the processors that
the next one's turn needs.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import final

from benchmarks.candidates.candidate import Call, Candidate
from benchmarks.cases import Answer, Case

WARM = 0.016
"""Seconds of untimed calls in a turn."""
TURN = 0.008
"""Seconds of timed calls in a turn."""
LONG = 0.5
"""Seconds of a call beyond which a turn is one call."""
ENOUGH = 3.0
"""Seconds of a candidate's first call, which also makes what is made once, beyond which it remains the only one."""
REST = 0.002
"""Seconds of which a process at rest spends less than a tenth."""
RESTLESS = 250
"""Times that it is looked for before a process that never rests has its way."""


@final
class Caller:
    """Calls one candidate, in one case after another."""

    call: Call
    seconds: float
    compared: int
    answers: list[Answer]

    def prepare(self, case: Callable[[], Case], candidate: Candidate, compared: int) -> float:
        """Everything that is done once and the first call, and a second one where there is time; the seconds of the
        later. Of the answers the first ``compared`` instances are kept."""
        vars(self).clear()  # the case before may be large
        gc.enable()
        made = case()
        self.call = candidate.prepare(made if candidate.dtype is None else made.to(candidate.dtype))
        self.compared = compared
        answer, self.seconds = self._timed()
        self.answers = [answer.first(compared)]
        if self.seconds <= ENOUGH:
            answer, self.seconds = self._timed()
            self.answers.append(answer.first(compared))
        gc.disable()
        come_to_rest()
        return self.seconds

    def turn(self) -> float:
        """Seconds of a call in this turn."""
        if self.seconds < LONG:
            self._calls(WARM)
        answer, times = self._calls(TURN if self.seconds < LONG else 0)
        self.answers[1:] = [answer.first(self.compared)]
        come_to_rest()
        return statistics.median(times)

    def answered(self) -> list[Answer]:
        """Of the first call and, where there was another, of the last."""
        return self.answers

    def _calls(self, seconds: float) -> tuple[Answer, list[float]]:
        """The answer to the last of the calls that fit, one at least, and the time of each."""
        times: list[float] = []
        begin = time.perf_counter()
        while not times or time.perf_counter() - begin < seconds:
            answer, taken = self._timed()
            times.append(taken)
        return answer, times

    def _timed(self) -> tuple[Answer, float]:
        start = time.perf_counter()
        answer = self.call()
        return answer, time.perf_counter() - start


def turn_seconds(call: float) -> float:
    """About how long a turn takes in which a call takes so long."""
    return call if call >= LONG else max(WARM, call) + max(TURN, call)


def come_to_rest() -> None:
    """Wait until none of this process's threads is busy."""
    for _ in range(RESTLESS):
        spent = time.process_time()
        time.sleep(REST)
        if time.process_time() - spent < REST / 10:
            return
