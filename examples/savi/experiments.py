"""What is trained: the runs of the short and of the full setting, on two cores.

Every run starts from the warm-up of its variance and seed, and is a process's own work from there on, so that its
result does not depend on which ran beside it.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace

import numpy as np
import torch

from examples.digits.data import load
from examples.savi.model import AMORTISED, METHODS, PROXIMAL, STEPS, UNROLLED, Method, Vae
from examples.savi.training import RECIPE, Recipe, Verdict, judge, train, warmed_up

GAMMA = 0.02
"""The emission's variance: about what six latents leave unexplained of a pixel."""

LONGER = 60
LONG = replace(AMORTISED, name=f"amortised only, {LONGER} x the steps")
"""In the time of a search an encoder can be trained for longer, which makes the fairer comparison."""

TABLE = (AMORTISED, LONG, *METHODS[1:])
"""The rows of the table."""

SWEPT = (AMORTISED, PROXIMAL)
"""What is trained at every variance."""

Weights = dict[str, np.ndarray]
"""A model's weights as they pass between processes: tensors would each hold a file open."""


@dataclass(frozen=True)
class Run:
    """One training run, from a warm-up on."""

    method: Method
    gamma: float
    seed: int

    @property
    def recipe(self) -> Recipe:
        return replace(RECIPE, epochs=LONGER * RECIPE.epochs) if self.method == LONG else RECIPE


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    verdict: Verdict
    weights: Weights


@dataclass(frozen=True)
class Plan:
    """``seeds`` for the table; with the first of them, a sweep over ``gammas``, and unrolling with each of ``steps``;
    costs are measured after each of ``cost_steps``."""

    seeds: int
    gammas: Sequence[float]
    steps: Sequence[int]
    cost_steps: Sequence[int] = (1, 2, 5, 10, 20, 50, 100)

    def table(self, method: Method) -> list[Run]:
        """A method with every seed."""
        return [Run(method, GAMMA, seed) for seed in range(self.seeds)]

    def sweep(self, method: Method) -> dict[float, Run]:
        """A method at every variance."""
        return {gamma: Run(method, gamma, 0) for gamma in self.gammas}

    def unrolls(self) -> dict[int, Run]:
        """Unrolling with every number of steps."""
        return {k: Run(unrolled(k), GAMMA, 0) for k in self.steps}

    def runs(self) -> list[Run]:
        """All of them, each once, the long ones first so that no core waits for the last."""
        every = [run for method in TABLE for run in self.table(method)]
        every += [run for method in SWEPT for run in self.sweep(method).values()]
        return sorted(dict.fromkeys([*every, *self.unrolls().values()]), key=_length, reverse=True)


SHORT = Plan(seeds=1, gammas=(0.02, 0.2, 0.6), steps=(1, 5, 20))
FULL = Plan(seeds=5, gammas=(0.02, 0.1, 0.2, 0.3, 0.5, 0.8), steps=(1, 2, 5, 10, 20, 50, 100))


def unrolled(steps: int) -> Method:
    """SA-VAE with so many steps."""
    if steps == STEPS.steps:
        return UNROLLED
    return replace(UNROLLED, name=f"SA-VAE, {steps} steps unrolled", solver=replace(STEPS, steps=steps))


def carried_out(runs: Sequence[Run], workers: int = 2) -> Iterator[tuple[Run, Outcome]]:
    """The outcome of each run, as they come."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        places = list(dict.fromkeys((run.gamma, run.seed) for run in runs))
        warm = dict(zip(places, pool.map(_warm_up, *zip(*places, strict=True)), strict=True))
        pending = {pool.submit(_outcome, run, warm[run.gamma, run.seed]): run for run in runs}
        for done in as_completed(pending):
            yield pending[done], done.result()


def model_of(weights: Weights) -> Vae:
    """The model with such weights."""
    model = Vae()
    model.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})
    return model


def weights_of(model: Vae) -> Weights:
    """A model's weights."""
    return {name: value.numpy() for name, value in model.state_dict().items()}


def _warm_up(gamma: float, seed: int) -> Weights:
    return weights_of(warmed_up(load().train.images.flatten(1), gamma, seed))


def _outcome(run: Run, warm: Weights) -> Outcome:
    digits = load()
    images, held_out = (part.images.flatten(1) for part in (digits.train, digits.test))
    model = model_of(warm)
    started = time.process_time()
    for _ in train(model, images, run.gamma, run.method, run.recipe, run.seed):
        pass
    seconds = time.process_time() - started
    return Outcome(judge(model, held_out, run.gamma, run.method, seconds), weights_of(model))


def _length(run: Run) -> int:
    """About how long a run takes, in arbitrary units."""
    if not run.method.refines:
        return run.recipe.epochs
    steps = run.method.solver.steps if run.method.solver else None
    newton = 30 if run.method.encodes else 80
    return RECIPE.epochs * (newton if steps is None else 2 + steps)
