"""How much memory a computation holds at most: the bytes of its tensors, and what the system gives a whole process.

The first is exact and the same on every run. It counts every storage that an operation makes, whoever keeps it
(autograd for the backward, the caller, nobody for long) until it is freed, and not what an operation takes for itself
while it runs. The second has all of that in it, and the allocator's habits too.
"""

from __future__ import annotations

import multiprocessing
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """Counts the bytes of all storages that operations make within the block and that are alive at once; ``bytes`` is
    the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.bytes = 0
        self.alive: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        known = self.alive | {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for storage in (t.untyped_storage() for t in tree_leaves(result) if isinstance(t, Tensor)):
            if storage._cdata not in known:
                known.add(storage._cdata)
                self.alive.add(storage._cdata)
                self.now += storage.nbytes()
                self.bytes = max(self.bytes, self.now)
                weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        return result

    def _freed(self, name: int, size: int) -> None:
        self.alive.discard(name)
        self.now -= size


def resident(once: Callable[[int], object], size: int) -> float:
    """Mebibytes by which ``once(size)`` raises the highest resident set of a fresh process over that of ``once(1)``, as
    Linux tells it.

    ``once`` is a function that pickle finds by its name, or a `functools.partial` of one.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_risen, (once, size))


def _risen(once: Callable[[int], object], size: int) -> float:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    highest = []
    for asked in (1, size):
        once(asked)
        # Not getrusage, whose maximum a new process has from the one that started it.
        told = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert told is not None
        highest.append(int(told[1]))
    return (highest[1] - highest[0]) / 1024
