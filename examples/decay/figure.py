"""The figure: error against terms, error against time, and what each gradient learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from examples.drawing import BLUE, GOLD, INK, MUTED, RED, sheet

if TYPE_CHECKING:
    from examples.decay.__main__ import Cost


def draw(
    path: Path,
    series: Mapping[int, Cost],
    krylov: Mapping[float, Cost],
    dense: float,
    curves: Mapping[str, Sequence[float]],
) -> None:
    """Write the figure; ``series`` by k, ``krylov`` by tolerance, ``dense`` in seconds, ``curves`` by adjoint."""
    with sheet(path, 1, 3, size=(13, 4.2)) as (terms, times, learning):
        counts = [k + 1 for k in series]
        terms.plot(counts, [c.error for c in series.values()], "o-", color=RED, label="relative error")
        terms.plot(counts, [max(c.turn, 1e-16) for c in series.values()], "o-", color=GOLD, label="1 - cosine")
        terms.set(title="Error of the gradient", xlabel="terms of the Neumann series", xscale="log", yscale="log")
        terms.legend(loc="lower left")

        for found, color, name in ((series, RED, "Neumann series"), (krylov, BLUE, "conjugate gradients")):
            seconds, errors = [1e3 * c.seconds for c in found.values()], [c.error for c in found.values()]
            times.plot(seconds, errors, "o-", color=color, label=name)
        times.axvline(1e3 * dense, color=MUTED, lw=1.2, ls=(0, (4, 3)), label="factorisation, exact")
        times.set(title="Error by time of the backward", xlabel="milliseconds", xscale="log", yscale="log")
        times.set(xlim=(1, None), xticks=[1, 10, 100], xticklabels=["1", "10", "100"])
        times.legend(loc="lower left")

        for (name, losses), color in zip(curves.items(), (BLUE, GOLD, RED, INK), strict=True):
            style = (0, (4, 3)) if name == "dense" else "-"
            learning.plot(losses, color=color, ls=style, label=name)
        learning.set(title="Held-out loss as penalties are learnt", xlabel="step of Adam")
        learning.legend()
