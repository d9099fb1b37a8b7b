"""Weights that many tasks share, learnt so that a task needs few examples, by three derivatives of adaptation.

    MAML     a task takes k gradient steps from the shared weights v; the derivative goes through all of them
    FOMAML   the same steps, whose derivative is taken as the identity: dw/dv = I
    iMAML    a task solves  min over w of  loss(w) + rho/2 |w - v|²;  by the implicit function theorem
             dw/dv = rho (H + rho I)⁻¹, H the Hessian of the task's loss, however the solution was found

One program states all three: with rho = 0 and a given number of steps it is the first two.

References: Finn, Abbeel and Levine, Model-agnostic meta-learning for fast adaptation of deep networks, 2017;
Rajeswaran, Finn, Kakade and Levine, Meta-learning with implicit gradients, 2019.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

import declarative as dl
from examples.maml.network import OfWeights
from examples.maml.tasks import Tasks, draw_tasks

METHODS = ("iMAML", "MAML", "FOMAML")
RHO = 2.0
STEPS, STEP_SIZE = 5, 0.05


@dataclass
class Learnt:
    """Shared weights (runs, 1, p), query errors (iterations, runs) on the way, the tasks whose inner problem was not
    solved, and seconds of a core per iteration."""

    shared: Tensor
    errors: list[Tensor] = field(default_factory=list)
    skipped: int = 0
    seconds: float = 0.0


def adaptation(network: OfWeights) -> dl.Layer:
    """The layer that adapts a network to tasks."""
    return dl.compile(Path(__file__).parent / "adapt.opt")(network=network)


def adapted(layer: dl.Layer, method: str, tasks: Tasks, shared: Tensor) -> Tensor:
    """Each task's weights (*batch, p), with the derivative of the method; NaN where an inner problem is not solved."""
    layer.on_failure = "nan"
    if method == "iMAML":
        layer.solver, layer.adjoint, layer.gradient, layer.tolerance = "newton_cg", "cg", "implicit", 1e-4
        w: Tensor = layer(tasks.x, tasks.y, shared, shared.new_tensor(RHO))
        return w
    layer.solver, layer.gradient = dl.GradientDescent(step_size=STEP_SIZE, steps=STEPS), "unrolled"
    start = shared if method == "MAML" else shared.detach()
    w = layer(tasks.x, tasks.y, start, shared.new_tensor(0.0))
    return w if method == "MAML" else shared + (w - shared).detach()


def query_errors(layer: dl.Layer, w: Tensor, tasks: Tasks) -> Tensor:
    """Mean squared error of each task on its queries, (*batch)."""
    fit: Tensor = layer.network(w, tasks.x_query)
    return (fit - tasks.y_query).square().mean(-1)


def learn(
    layer: dl.Layer, method: str, initial: Tensor, iterations: int, *, tasks: int, rate: float, seed: int = 0
) -> Learnt:
    """Shared weights by Adam, from ``initial`` (runs, 1, p). The runs differ in start and tasks and are one batch;
    every method sees the same tasks. Tasks whose inner problem is not solved count for nothing."""
    generator = torch.Generator().manual_seed(seed)
    learnt = Learnt(initial.clone().requires_grad_())
    optimizer = torch.optim.Adam([learnt.shared], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    started = time.process_time()
    for _ in range(iterations):
        drawn = draw_tasks(len(initial), tasks, generator=generator)
        errors = query_errors(layer, adapted(layer, method, drawn, learnt.shared), drawn)
        solved = errors.isfinite()
        errors = torch.where(solved, errors, 0)
        optimizer.zero_grad()
        (errors.sum() / tasks).backward()
        optimizer.step()
        schedule.step()
        learnt.errors.append(errors.detach().sum(-1) / solved.sum(-1))
        learnt.skipped += int((~solved).sum())
    learnt.shared = learnt.shared.detach()
    learnt.seconds = (time.process_time() - started) / max(1, iterations)
    return learnt
