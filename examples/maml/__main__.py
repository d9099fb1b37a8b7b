"""Implicit meta-learning of sinusoids beside MAML and its first-order form: ``python -m examples.maml``."""

from __future__ import annotations

import torch
from torch import Tensor

import declarative as dl
from examples.command import OUT, full, show, wrote
from examples.maml.figure import Fit, draw
from examples.maml.inner_steps import WAYS, cost, meta_gradient
from examples.maml.learning import METHODS, RHO, adaptation, adapted, learn, query_errors
from examples.maml.network import sine_network
from examples.maml.tasks import Tasks, draw_tasks

HIDDEN = 24
RUNS = {**{method: (method, 1) for method in METHODS}, "MAML, longer": ("MAML", 8)}
"""What is learnt: the method, and how many times the iterations."""
STEPS = (1, 3, 10, 30, 100, 300)
"""The numbers of inner steps after which a meta-gradient is looked at."""
SHOWN = (0, 1, 2)
"""The test tasks that the figure shows."""


def main() -> None:
    """The tables and the figure."""
    asked = full(__doc__ or "", "three runs of 200 iterations instead of two of 60")
    runs, iterations = (3, 200) if asked else (2, 60)
    torch.manual_seed(0)
    networks = [sine_network(HIDDEN) for _ in range(runs)]
    layer = adaptation(networks[0])
    initial = torch.stack([network.initial for network in networks])[:, None]

    learnt = {
        name: learn(layer, method, initial, times * iterations, tasks=8, rate=0.01)
        for name, (method, times) in RUNS.items()
    }
    test = draw_tasks(1, 100, generator=torch.Generator().manual_seed(1), queries=50)
    rows, fits = [], {}
    for name, found in learnt.items():
        w = adapted(layer, RUNS[name][0], test, found.shared).detach()
        errors = query_errors(layer, w, test)
        means = errors.nanmean(-1)
        cells = f"{means.mean():.3f}", f"{means.min():.3f} to {means.max():.3f}", f"{errors.nanmedian():.3f}"
        rows.append((name, f"{len(found.errors)}", *cells, f"{1e3 * found.seconds:.0f}", f"{found.skipped}"))
        fits[name] = torch.stack([w[0], found.shared[0].expand_as(w[0])])
    columns = ("", "iterations", "error", "of the runs", "median task", "ms an iteration", "skipped")
    show(f"Mean squared error of {test.x.shape[1]} new tasks after ten points", columns, rows)
    print("  inner problems of these tasks:", *statuses(layer, test, learnt["iMAML"].shared), "\n")

    few = draw_tasks(8, generator=torch.Generator().manual_seed(2))
    shared = learnt["iMAML"].shared[0]
    exact = meta_gradient(layer, few, shared)
    costs = {way: {k: cost(layer, few, shared, way, k, exact) for k in STEPS} for way in WAYS}
    rows = [
        (f"{k}", *(f"{costs[w][k].error:.0e}" for w in WAYS), *(f"{costs[w][k].memory:.2f}" for w in WAYS))
        for k in STEPS
    ]
    show("One meta-gradient: relative error, and MiB", ("inner steps", *WAYS, *WAYS), rows)
    curves = {method: torch.stack(learnt[method].errors) for method in METHODS}
    draw(OUT / "maml.png", costs, curves, [shown(layer, test, fits, task) for task in SHOWN])
    wrote(OUT / "maml.png")


def statuses(layer: dl.Layer, tasks: Tasks, shared: Tensor) -> list[str]:
    """How the inner problems of iMAML end, counted."""
    adapted(layer, "iMAML", tasks, shared)  # its settings
    found = layer.solve(tasks.x, tasks.y, shared, shared.new_tensor(RHO)).status.flatten()
    return [f"{int((found == s).sum())} {s.label}" for s in dl.Status if (found == s).any()]


def shown(layer: dl.Layer, tasks: Tasks, weights: dict[str, Tensor], task: int) -> Fit:
    """One test task as the figure has it; ``weights`` (2, tasks, p) by name: adapted and shared."""
    grid = torch.linspace(-5, 5, 200)
    truth = tasks.amplitude[0, task] * torch.sin(grid + tasks.phase[0, task])
    points = torch.stack([tasks.x[0, task], tasks.y[0, task]])
    fits = {method: layer.network(weights[method][:, task], grid) for method in METHODS}
    return Fit(grid, truth, points, fits)


if __name__ == "__main__":
    main()
