"""The figure: the losses of both runs, one on the other, and the time of their steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.drawing import BLUE, GOLD, sheet


def draw(path: Path, runs: Mapping[int, Mapping[str, Any]]) -> None:
    """Write the figure; ``runs`` by the number of processes."""
    with sheet(path, 1, 2, size=(10, 4)) as (curves, times):
        for (count, run), color, width in zip(runs.items(), (GOLD, BLUE), (5, 1.5), strict=True):
            name = f"{count} process{'es' if count > 1 else ''}"
            curves.plot(range(1, len(run["losses"]) + 1), run["losses"], color=color, lw=width, label=name)
            ordered = sorted(1e3 * s for s in run["seconds"])
            ordered = ordered[: len(ordered) - len(ordered) // 50]  # the slowest two in a hundred are the machine's
            times.plot([i / len(run["seconds"]) for i in range(len(ordered))], ordered, color=color, label=name)
        curves.set(title="The same training", xlabel="epoch", ylabel="loss", yscale="log")
        times.set(title="Time of a step", xlabel="share of the steps", ylabel="milliseconds", yscale="log")
        curves.legend(loc="upper right")
        times.legend(loc="upper left")
