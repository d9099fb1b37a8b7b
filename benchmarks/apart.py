"""Processes of their own: one thing at a time is asked of them, and none is waited for without end.

A process begins as the copy of a server that has imported torch and what is measured, and that has computed nothing: it
starts in some hundredths of a second, without a thread of anyone's pool and without what another has left on the heap.
Where there are no such servers it begins from nothing, which takes longer. It has as many threads as the process that
starts it, and the same default dtype.

What goes wrong there is a `FailedError` here: an exception, after which it can be asked again; the end of the process,
by itself or by the system; an answer that is not there after `PATIENCE`, for which the process is ended.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NamedTuple, final

import torch
from threadpoolctl import threadpool_limits

from benchmarks.candidates.candidate import UnavailableError

PATIENCE = 300.0
"""Seconds that an answer may take."""
IMPORTED = ["torch", "numpy", "threadpoolctl", "benchmarks.calling", "benchmarks.works"]
"""What a process has imported when it begins, without having called it."""


class FailedError(Exception):
    """There is no answer; why, in one line."""


class Settings(NamedTuple):
    """What holds in every process of a run."""

    threads: int
    dtype: torch.dtype

    def hold(self) -> None:
        """That many threads for torch, for the numpy of the loops, and for peers with a pool of their own, before they
        are imported."""
        os.environ |= {"OMP_NUM_THREADS": str(self.threads), "RAYON_NUM_THREADS": str(self.threads)}
        threadpool_limits(self.threads)
        torch.set_num_threads(self.threads)
        torch.set_default_dtype(self.dtype)
        warnings.filterwarnings("ignore")


@dataclass(frozen=True)
class _Reason:
    """In place of an answer."""

    text: str


@final
class Apart:
    """A process in which ``host`` lives, an object that can be pickled and whose methods are called there.

    What a call is given and what it gives back are pickled; of a tensor that is a view the whole storage is. Ended on
    leaving its context, whatever it is doing.
    """

    def __init__(self, host: object) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        settings = Settings(torch.get_num_threads(), torch.get_default_dtype())
        self._process = context().Process(target=_serve, args=(theirs, settings, host))
        self._process.start()
        theirs.close()

    def ask(self, method: str, *given: object) -> Any:
        """What ``method`` of the host gives back; raises `FailedError`."""
        try:
            self._connection.send_bytes(pickle.dumps((method, given)))
            ready = multiprocessing.connection.wait([self._connection, self._process.sentinel], PATIENCE)
            if not ready:
                self.end()
                raise FailedError(f"ended: no answer in {PATIENCE:g} s")
            if self._connection not in ready:  # what the process has started may hold its end of the pipe
                raise EOFError
            answer = pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):  # nobody at the other end, or no end
            raise FailedError(self._epitaph()) from None
        if isinstance(answer, _Reason):
            raise FailedError(answer.text)
        return answer

    @property
    def alive(self) -> bool:
        return bool(self._process.is_alive())

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _epitaph(self) -> str:
        """How the process ended; one that has only let go of its end of the pipe is ended."""
        self._process.join(5)
        code = self._process.exitcode
        self.end()
        if code is None:
            return "its process no longer answers"
        if code >= 0:
            return f"its process ended with status {code}"
        known = -code in signal.valid_signals()
        return f"its process ended with signal {-code}" + (f" ({signal.Signals(-code).name})" if known else "")


def alone(function: Callable[..., Any], *given: object) -> Any:
    """What ``function`` gives back in a process that does nothing else; raises `FailedError`."""
    with Apart(function) as process:
        return process.ask("__call__", *given)


def context() -> multiprocessing.context.ForkServerContext | multiprocessing.context.SpawnContext:
    """How processes begin: as copies of a server, where the system can do that safely."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(IMPORTED)
    return found


def _serve(connection: Connection, settings: Settings, host: object) -> None:
    """Call what is asked for, until nobody asks any more. The one who asks decides what an interrupt ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings.hold()
    while True:
        try:
            method, given = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            answer = pickle.dumps(getattr(host, method)(*given))
        except Exception as problem:
            answer = pickle.dumps(_Reason(reason(problem)))
        connection.send_bytes(answer)


def reason(problem: Exception) -> str:
    """One line that says what went wrong."""
    if isinstance(problem, ImportError):
        return f"not installed ({problem.name or problem})"
    text = " ".join(str(problem).split())
    shown = text if len(text) <= 160 else text[:157] + "..."
    return shown if isinstance(problem, UnavailableError) else f"{type(problem).__name__}: {shown}"
