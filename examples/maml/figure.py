"""The figure: what a meta-gradient costs, how the methods learn, and what they make of ten points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from torch import Tensor

from examples.drawing import BLUE, FAINT, GOLD, INK, MUTED, RED, sheet
from examples.maml.inner_steps import Cost

COLORS = {"iMAML": RED, "MAML": BLUE, "FOMAML": GOLD, "implicit": RED, "unrolled": BLUE, "first order": GOLD}
WINDOW = 20
"""Iterations that a point of a learning curve is the mean of."""


@dataclass(frozen=True)
class Fit:
    """One task: a grid (m,) with the truth (m,) on it, its ten points (2, 10), and each method's adapted function and
    the shared one that it came from (2, m)."""

    grid: Tensor
    truth: Tensor
    points: Tensor
    fits: Mapping[str, Tensor]


def draw(
    path: Path,
    costs: Mapping[str, Mapping[int, Cost]],
    curves: Mapping[str, Tensor],
    fits: Sequence[Fit],
) -> None:
    """Write the figure; ``costs``: by way and number of inner steps; ``curves``: (iterations, runs) by method."""
    with sheet(path, 2, 3, size=(13, 8.2)) as (error, memory, curve, *tasks):
        for way, by_steps in costs.items():
            style = {"color": COLORS[way], "label": way, "marker": "o"}
            error.plot(list(by_steps), [max(c.error, 1e-12) for c in by_steps.values()], **style)
            memory.plot(list(by_steps), [c.memory for c in by_steps.values()], **style)
        error.set(title="Meta-gradient: relative error", xlabel="inner steps", xscale="log", yscale="log")
        memory.set(title="Meta-gradient: memory, MiB", xlabel="inner steps", xscale="log", yscale="log")
        memory.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        for axes in (error, memory):
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        memory.legend(loc="upper left")
        for method, errors in curves.items():
            smooth = errors.unfold(0, min(WINDOW, len(errors)), 1).mean(-1)
            at = torch.arange(len(smooth)) + min(WINDOW, len(errors)) / 2
            low, high = smooth.amin(1), smooth.amax(1)
            curve.fill_between(at, low, high, color=COLORS[method], alpha=0.15, lw=0)
            curve.plot(at, smooth.mean(1), color=COLORS[method], label=method)
        curve.set(title="Error after adaptation, new tasks", xlabel="meta-iteration", yscale="log", yticks=[0.3, 1, 3])
        curve.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        curve.yaxis.set_minor_formatter(NullFormatter())
        curve.legend()
        for axes, fit in zip(tasks, fits, strict=True):
            _task(axes, fit)
        tasks[0].set_title("Ten points of a new task, and what is made of them")
        tasks[0].legend(loc="lower left", ncols=2, fontsize=8.5)


def _task(axes: Axes, fit: Fit) -> None:
    axes.plot(fit.grid, fit.truth, color=FAINT, lw=6, solid_capstyle="round", label="truth")
    for method, (adapted, shared) in fit.fits.items():
        if method == "iMAML":
            axes.plot(fit.grid, shared, color=MUTED, lw=1, ls=":", label="iMAML, before")
        axes.plot(fit.grid, adapted, color=COLORS[method], label=method)
    axes.plot(*fit.points, "o", color=INK, ms=6, zorder=3)
    size = 1.6 * max(1.0, float(fit.truth.abs().max()))
    axes.set(ylim=(-1.3 * size, size), xlabel="x")
