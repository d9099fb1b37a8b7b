"""The look that the figures of the examples share: colours, a sheet of panels, headlines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

INK, MUTED, FAINT = "#22262e", "#7c828d", "#e3e5e9"
RED, BLUE, GOLD, GREEN = "#d1495b", "#2e6f95", "#e0a030", "#4f9d69"
HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#f6c6a8", RED, "#5c1a33"])

STYLE = {
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
}


@contextmanager
def sheet(path: Path, rows: int, columns: int, *, size: tuple[float, float], **grid: Any) -> Iterator[list[Axes]]:
    """The panels of a figure, row by row, to be drawn on; the figure is written to ``path`` at the end.

    ``size``: width and height in inches. ``grid``: further arguments of `matplotlib.pyplot.subplots`.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **grid)
        yield list(axes.flat)
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=150, facecolor="white")
        plt.close(figure)


def bare(axes: Axes) -> None:
    """Nothing but what is drawn: no ticks, spines or grid."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)
