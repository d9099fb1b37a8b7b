"""The figure: both criteria with their derivatives, and what more penalties are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from examples.drawing import BLUE, FAINT, INK, MUTED, RED, sheet
from examples.penalties.search import Trial


@dataclass(frozen=True)
class Curve:
    """One penalty's trials, by a grid and by the derivative."""

    grid: list[Trial]
    descent: list[Trial]


def draw(path: Path, lasso: Curve, logistic: Curve, errors: Sequence[tuple[str, int, float, float]]) -> None:
    """Write the figure; ``errors``: label, solves, error by which penalties were chosen, and error in the test."""
    with sheet(path, 1, 3, size=(13, 4.4), width_ratios=[1.1, 1.1, 1]) as (left, middle, right):
        _criterion(left, lasso, "Lasso, diabetes", "cross-validated squared error")
        _criterion(middle, logistic, "Sparse logistic regression, breast cancer", "held-out log-loss")
        for row, (label, solves, chosen, tested) in enumerate(errors):
            right.plot([chosen, tested], [row, row], color=FAINT, lw=4, zorder=1)
            right.plot(chosen, row, "o", color=BLUE, ms=8)
            right.plot(tested, row, "o", color=RED, ms=8)
            right.annotate(
                f"{label}, {solves} solves", (0, row), (0.02, 11), xycoords=("axes fraction", "data"),
                textcoords=("axes fraction", "offset points"), fontsize=9.5,
            )  # fmt: skip
        right.set(title="Lasso: what more penalties are worth", xlabel="squared error", ylim=(len(errors) - 0.5, -0.75))
        right.set(yticks=[])
        right.grid(axis="y", visible=False)
        right.spines["left"].set_visible(False)
        right.plot([], [], "o", color=BLUE, label="by which they were chosen")
        right.plot([], [], "o", color=RED, label="in the test")
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, columnspacing=1, handletextpad=0.2)


def _criterion(axes: Axes, curve: Curve, title: str, label: str) -> None:
    """Errors along the grid, the derivative at every few points as a tangent, and the trials of the descent."""
    at = [t.at.exp().item() for t in curve.grid]
    errors = [t.error for t in curve.grid]
    axes.plot(at, errors, color=FAINT, lw=6, solid_capstyle="round")
    axes.plot(at, errors, "o", color=MUTED, ms=2.5, label=f"grid, {len(at)} solves")
    reach = 0.28
    for t in curve.grid[:: max(1, len(at) // 10)]:
        ends = [(t.at.item() + side * reach, t.error + side * reach * t.slope.item()) for side in (-1, 1)]
        axes.plot([math.exp(u) for u, _ in ends], [e for _, e in ends], color=INK, lw=1.3)
    axes.plot([], [], color=INK, lw=1.3, label="implicit derivative")
    trials = curve.descent
    axes.plot([t.at.exp().item() for t in trials], [t.error for t in trials], "o", color=RED, mfc="none", ms=8)
    axes.plot([], [], "o", color=RED, mfc="none", ms=8, label=f"descent, {len(trials)} solves")
    axes.set(title=title, xscale="log", xlabel="penalty", ylabel=label)
    axes.set_ylim(top=min(errors) + 1.02 * (max(errors) - min(errors)))
    axes.legend(loc="upper left")
