"""Processes of their own: what holds in them, what they give back, and how they end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
import torch
from threadpoolctl import threadpool_info

from benchmarks.apart import Apart, FailedError, alone
from benchmarks.cases import DOUBLE


@pytest.fixture
def double() -> Iterator[None]:
    usual = torch.get_default_dtype()
    torch.set_default_dtype(DOUBLE)
    yield
    torch.set_default_dtype(usual)


class Counter:
    """What a process may hold."""

    count = 0

    def add(self, number: int) -> int:
        self.count += number
        return self.count

    def fail(self) -> None:
        raise ValueError(f"at\n{self.count}")

    def interrupted(self) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "still here"

    def end(self, how: int) -> None:
        os.kill(os.getpid(), how)


def held() -> tuple[int, torch.dtype, dict[str, str], set[int], int]:
    threads = {pool["num_threads"] for pool in threadpool_info()}
    given = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")}
    return torch.get_num_threads(), torch.get_default_dtype(), given, threads, os.getpid()


def unpicklable() -> Callable[[], None]:
    return lambda: None


@pytest.mark.usefixtures("double")
def test_threads_and_dtype_are_those_of_the_one_who_starts_it() -> None:
    threads = torch.get_num_threads()
    found, dtype, given, pools, pid = alone(held)
    assert (found, dtype, pools) == (threads, DOUBLE, {threads})
    assert given == {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    assert pid != os.getpid()


def test_what_lives_there_lives_on_between_the_calls() -> None:
    with Apart(Counter()) as one, Apart(Counter()) as other:
        assert [one.ask("add", 2), other.ask("add", 5), one.ask("add", 3)] == [2, 5, 5]
        with pytest.raises(FailedError, match=r"^ValueError: at 5$"):
            one.ask("fail")
        assert one.alive
        assert one.ask("add", 1) == 6
        assert one.ask("interrupted") == "still here"
    assert not one.alive


@pytest.mark.parametrize(("how", "said"), [(signal.SIGKILL, "9 (SIGKILL)"), (signal.SIGTERM, "15 (SIGTERM)")])
def test_the_end_of_a_process_is_told(how: signal.Signals, said: str) -> None:
    with Apart(Counter()) as one:
        for _ in range(2):
            with pytest.raises(FailedError) as told:
                one.ask("end", how)
            assert str(told.value) == f"its process ended with signal {said}"
            assert not one.alive


def test_an_answer_that_cannot_be_sent_is_a_failure() -> None:
    with pytest.raises(FailedError, match="pickle"):
        alone(unpicklable)
