"""What a meta-gradient costs and how far off it is, after k steps of descent on the proximal inner problem.

    unrolled     through all k steps
    implicit     the theorem's, as if the k steps had ended at a solution; by MINRES, since a Hessian may be indefinite
                 before the end
    first order  the query loss's slope at the k-th step, with no derivative of the adaptation at all

Reference: Rajeswaran et al., Meta-learning with implicit gradients, 2019, section 4 and figure 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

import declarative as dl
from examples.maml.learning import RHO, query_errors
from examples.maml.tasks import Tasks
from examples.unrolling.cost import TakenAsSolved
from examples.unrolling.memory import Peak

WAYS = ("unrolled", "implicit", "first order")
STEP_SIZE = 0.02


@dataclass(frozen=True)
class Cost:
    """The relative error of a meta-gradient, and the mebibytes that computing it holds at most."""

    error: float
    memory: float


def meta_gradient(layer: dl.Layer, tasks: Tasks, shared: Tensor, way: str = "implicit", steps: int = 0) -> Tensor:
    """The slope (1, p) of the tasks' summed query errors in the shared weights (1, p), one of `WAYS` after ``steps``;
    with 0 steps that of the solution, by Newton's method."""
    shared = shared.detach().requires_grad_()
    descent = dl.GradientDescent(step_size=STEP_SIZE, steps=steps)
    layer.solver, layer.adjoint, layer.on_failure = TakenAsSolved(descent), "minres", "raise"
    layer.tolerance, layer.gradient = None, "implicit"
    if not steps:
        layer.solver = "newton_cg"
    elif way == "unrolled":
        layer.solver, layer.gradient = descent, "unrolled"
    start = shared.detach() if way == "first order" else shared
    w = layer(tasks.x, tasks.y, start, shared.new_tensor(RHO))
    if way == "first order":
        w = shared + (w - start)
    query_errors(layer, w, tasks).sum().backward()
    assert shared.grad is not None
    return shared.grad


def cost(layer: dl.Layer, tasks: Tasks, shared: Tensor, way: str, steps: int, exact: Tensor) -> Cost:
    """The cost of one meta-gradient beside the ``exact`` one (1, p)."""
    with Peak() as peak:
        found = meta_gradient(layer, tasks, shared, way, steps)
    return Cost(float((found - exact).norm() / exact.norm()), peak.bytes / 2**20)
