"""The figure: memory, time of the backward and error against the number of inner steps, for both problems."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import NullFormatter, StrMethodFormatter

from examples.drawing import BLUE, GOLD, GREEN, RED, sheet
from examples.unrolling.cost import Cost

STYLES = {
    "unrolled": {"color": BLUE},
    "checkpointed": {"color": GOLD, "linestyle": (0, (4, 3)), "linewidth": 2.6},
    "truncated": {"color": GREEN},
    "implicit": {"color": RED},
}


def draw(path: Path, steps: Sequence[int], found: Mapping[str, Mapping[str, Sequence[Cost]]]) -> None:
    """Write the figure; ``found``: of each problem and method, the cost after each of ``steps``."""
    panels = (
        ("memory, MiB", lambda c: c.memory),
        ("backward, ms", lambda c: 1e3 * c.backward),
        ("error of the gradient", lambda c: max(c.error, 1e-16)),
    )
    with sheet(path, len(found), len(panels), size=(13, 7.6), sharex=True) as all_axes:
        for row, (problem, methods) in enumerate(found.items()):
            for axes, (title, value) in zip(all_axes[3 * row :], panels, strict=False):
                for name, costs in methods.items():
                    axes.plot(steps, [value(c) for c in costs], marker="o", label=name, **STYLES[name])
                axes.set(title=f"{problem}: {title}", xscale="log", yscale="log")
                for axis in (axes.xaxis, axes.yaxis):
                    axis.set_minor_formatter(NullFormatter())
                    if axis is axes.xaxis or "error" not in title:
                        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
                if title.startswith("memory"):
                    low, high = (math.log10(end) for end in axes.get_ylim())
                    axes.set_ylim(10 ** math.floor(low), 10 ** math.ceil(high))  # two powers of ten at least are named
                if row == len(found) - 1:
                    axes.set(xlabel="inner steps")
        all_axes[0].legend(loc="upper left")
