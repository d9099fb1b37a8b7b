"""What one gradient costs after k inner steps: seconds, and the most memory held at once.

Both gradients come after the same k steps of gradient descent. Unrolling records all of them for the backward; the
implicit function theorem is applied where they end, and nothing that led there is kept.

The memory is that of tensors, counted at every operation as the sizes of all storages alive, so that it is exact, the
same on every run, and free of what the process holds besides. It covers the whole of forward and backward, the Hessian
of the adjoint included.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import declarative as dl
from declarative.runtime.problem import Problem, Solved, Solver
from examples.savi.model import PROXIMAL, STEPS, Vae

Gradient = Callable[[], object]
"""One forward and backward."""

ROUNDS = 5
"""Repetitions of a measurement; the fastest counts, since whatever else runs only makes it slower."""


@dataclass(frozen=True)
class Cost:
    """Of one forward and backward: mebibytes held at once, and seconds of one core."""

    memory: float
    seconds: float


@dataclass(frozen=True)
class Costs:
    """``unrolled`` and ``implicit`` after each of ``steps``; ``newton`` is the layer as it is by default, which
    converges in ``newton_steps``."""

    steps: Sequence[int]
    unrolled: Sequence[Cost]
    implicit: Sequence[Cost]
    newton: Cost
    newton_steps: int


@dataclass(frozen=True)
class TakenAsSolved(Solver):
    """The end of a given number of steps, offered as a stationary point, so that the implicit gradient can be had
    after exactly as many steps as the unrolled one. A layer refuses this combination, since before convergence it is
    the derivative of another point; here it is only weighed."""

    descent: dl.GradientDescent

    def solve(self, problem: Problem) -> Solved:
        return self.descent.solve(problem)


class Held(TorchDispatchMode):
    """Counts the bytes of the storages that operations make while it is entered: ``now``, and at most, ``peak``."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.alive: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                name, size = storage._cdata, storage.nbytes()
                if name not in self.alive and name not in given:
                    self.alive.add(name)
                    weakref.finalize(storage, self._freed, name, size)
                    self.now += size
                    self.peak = max(self.peak, self.now)
        return result

    def _freed(self, name: int, size: int) -> None:
        self.alive.discard(name)
        self.now -= size


def measure(model: Vae, x: Tensor, noise: Tensor, gamma: float, steps: Sequence[int]) -> Costs:
    """The costs of the proximal layer's gradients on one batch (*batch, 64)."""
    proposal = [p.detach().requires_grad_() for p in model.propose(x)]
    tensors = (x, *proposal, noise, x.new_tensor(gamma), x.new_tensor(PROXIMAL.rho))

    def gradient(solver: Solver | None, by: str) -> Gradient:
        layer = model.search(PROXIMAL)
        layer.solver, layer.gradient = solver, by
        return lambda: layer(*tensors).loss.sum().backward()

    descents = [replace(STEPS, steps=k) for k in steps]
    unrolled = [gradient(descent, "unrolled") for descent in descents]
    implicit = [gradient(TakenAsSolved(descent), "implicit") for descent in descents]
    costs, count = weigh([*unrolled, *implicit, gradient(None, "implicit")]), len(steps)
    newton_steps = int(model.search(PROXIMAL).solve(*tensors).iterations.max())
    return Costs(steps, costs[:count], costs[count:-1], costs[-1], newton_steps)


def weigh(gradients: Sequence[Gradient]) -> list[Cost]:
    """The cost of each; they take turns, so that what else the machine does disturbs them alike."""
    memory, seconds = [], [math.inf] * len(gradients)
    for gradient in gradients:
        gradient()  # what is made once, at the first call, is no part of it
        with Held() as held:
            gradient()
        memory.append(held.peak / 2**20)
    for _ in range(ROUNDS):
        for i, gradient in enumerate(gradients):
            started = time.process_time()
            gradient()
            seconds[i] = min(seconds[i], time.process_time() - started)
    return [Cost(*each) for each in zip(memory, seconds, strict=True)]
