"""What one gradient costs and how far off it is after k inner steps, by four methods.

    unrolled       the derivative of all k steps: every step is kept for the backward
    checkpointed   the same number from √k points on the way: the steps between are taken once more when they are needed
    truncated      the derivative of the last ten steps: where they begin is a constant
    implicit       the implicit function theorem where the k steps end, by products with the Hessian: nothing that led
                   there is kept, and no matrix is formed

References: Domke, Generic methods for optimization-based modeling, 2012; Chen et al., Training deep nets with sublinear
memory cost, 2016; Shaban et al., Truncated back-propagation for bilevel optimization, 2019; Pedregosa, Hyperparameter
optimization with approximate gradient, 2016.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import declarative as dl
from declarative.runtime.problem import Problem, Solved, Solver
from examples.unrolling.memory import Peak

METHODS = ("unrolled", "checkpointed", "truncated", "implicit")
ROUNDS = 2


@dataclass(frozen=True)
class Case:
    """A layer, its arguments, the step size of its descent, and a direction: the outer loss is the inner product of the
    output with it. Every argument is differentiated."""

    layer: dl.Layer
    tensors: Sequence[Tensor]
    step_size: float
    direction: Tensor


@dataclass(frozen=True)
class Cost:
    """Mebibytes that a forward and backward hold at most, seconds of a core for each, and the relative error."""

    memory: float
    forward: float
    backward: float
    error: float


@dataclass(frozen=True)
class TakenAsSolved(Solver):
    """Where some steps of descent end, taken as a stationary point. By itself a layer refuses that, since it is none:
    the implicit gradient there is an approximation."""

    descent: dl.GradientDescent

    def solve(self, problem: Problem) -> Solved:
        return self.descent.solve(problem)


def measure(case: Case, method: str, steps: int, exact: Sequence[Tensor]) -> Cost:
    """The cost of a method after ``steps``; the error is relative to the gradients ``exact``. Of several rounds, the
    fastest forward and the fastest backward."""
    forwards, backwards = [], []
    for _ in range(ROUNDS):
        started = time.process_time()
        loss, _ = forward(case, method, steps)
        between = time.process_time()
        loss.backward()
        forwards.append(between - started)
        backwards.append(time.process_time() - between)
    with Peak() as peak:
        found = gradients(case, method, steps)
    error = sum(float((f - e).square().sum()) for f, e in zip(found, exact, strict=True))
    size = sum(float(e.square().sum()) for e in exact)
    return Cost(peak.bytes / 2**20, min(forwards), min(backwards), (error / size) ** 0.5)


def gradients(case: Case, method: str, steps: int | None = None) -> list[Tensor]:
    """The outer loss's gradients by a method after ``steps``; None solves the inner problem, as a layer does."""
    loss, arguments = forward(case, method, steps)
    loss.backward()
    return [argument.grad for argument in arguments if argument.grad is not None]


def forward(case: Case, method: str, steps: int | None) -> tuple[Tensor, list[Tensor]]:
    """The outer loss, and the arguments that it is a function of."""
    layer, arguments = case.layer, [t.detach().requires_grad_() for t in case.tensors]
    if method == "checkpointed":
        assert steps is not None
        x = checkpointed(case, arguments, steps)
        output = layer.outputs(layer.point_type(x, x[..., :0], x[..., :0]), *arguments)
    else:
        layer.gradient = {"truncated": "truncated:10"}.get(method, method)
        layer.solver, layer.adjoint = None, "minres"  # a Hessian before the end may be indefinite
        if steps is not None:
            descent = dl.GradientDescent(step_size=case.step_size, steps=steps)
            layer.solver = TakenAsSolved(descent) if method == "implicit" else descent
        output = layer(*arguments)
    return (output * case.direction).sum(), arguments


def checkpointed(case: Case, arguments: Sequence[Tensor], steps: int) -> Tensor:
    """The last iterate (*batch, n) of gradient descent on the layer's own objective, in pieces of about √k steps."""

    def descend(count: int) -> Callable[..., Tensor]:
        def piece(x: Tensor, *data: Tensor) -> Tensor:
            slope = torch.func.grad(lambda x: case.layer.objective(x, *data).sum())
            for _ in range(count):
                x = x - case.step_size * slope(x)
            return x

        return piece

    problem = case.layer.data(*arguments)
    x = problem.start.expand(*problem.batch_shape, -1)
    length = max(1, isqrt(steps))
    for begin in range(0, steps, length):
        x = checkpoint(descend(min(length, steps - begin)), x, *arguments, use_reentrant=True)
    return x
