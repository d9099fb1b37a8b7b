"""The figure: how solvers converge, what a short series leaves out, and whether training minds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from examples.drawing import BLUE, FAINT, GOLD, MUTED, RED, sheet


def draw(
    path: Path,
    residuals: Mapping[str, Mapping[int, float]],
    errors: Mapping[float, Sequence[float]],
    terms: Sequence[int],
    wrong: Mapping[str, Sequence[int]],
) -> None:
    """Write the figure; ``residuals`` by solver, ``errors`` by rho, ``wrong`` by adjoint."""
    with sheet(path, 1, 3, size=(13, 4.2)) as (solvers, series, training):
        for (name, values), color in zip(residuals.items(), (MUTED, BLUE, RED), strict=True):
            solvers.plot(list(values), np.maximum(list(values.values()), 1e-16), "o-", color=color, label=name)
        solvers.set(
            title="Residual of the forward solve, ρ = 0.99",
            xlabel="iterations",
            xscale="symlog",
            yscale="log",
            ylim=(1e-16, 1),
        )
        solvers.legend()
        for (norm, values), color in zip(errors.items(), (BLUE, GOLD, RED), strict=True):
            bound = [norm ** (k + 1) for k in terms]
            series.plot(terms, bound, color=FAINT, lw=6, solid_capstyle="round")
            series.plot(terms, values, "o-", color=color, label=f"ρ = {norm}")
        series.set(title="Gradient's error, on ρ$^{k+1}$ in grey", xlabel="terms of the Neumann series, k")
        series.set(
            xscale="symlog", yscale="log", ylim=(1e-14, 2), xticks=[0, 1, 10, 100], xticklabels=["0", "1", "10", "100"]
        )
        series.legend(loc="lower left")
        for (name, counts), color in zip(wrong.items(), (RED, GOLD, BLUE), strict=True):
            training.plot(np.arange(1, len(counts) + 1), counts, color=color, label=name)
        training.set(title="Digits read wrong, of 197 held out", xlabel="epoch", yscale="log")
        training.set(yticks=[10, 20, 50, 100], yticklabels=["10", "20", "50", "100"])
        training.minorticks_off()
        training.legend()
