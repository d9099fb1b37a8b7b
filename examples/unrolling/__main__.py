"""Gradients of a solution unrolled, with checkpoints, truncated and implicit, after k inner steps: memory, time, error.

``python -m examples.unrolling``.
"""

from __future__ import annotations

from functools import partial

from examples.command import OUT, full, show, wrote
from examples.unrolling.cost import METHODS, gradients, measure
from examples.unrolling.figure import draw
from examples.unrolling.memory import resident
from examples.unrolling.problems import CASES, once


def main() -> None:
    """A table for each problem, and the figure."""
    asked = full(__doc__ or "", "up to 1000 steps instead of 300, and memory by fresh processes too")
    steps = (1, 3, 10, 30, 100, 300, 1000) if asked else (1, 3, 10, 30, 100, 300)
    found = {}
    for name, make in CASES.items():
        case = make()
        exact = gradients(case, "implicit")
        found[name] = {method: [measure(case, method, k, exact) for k in steps] for method in METHODS}
        rows = []
        for j, k in enumerate(steps):
            for method in METHODS if k >= 10 else ():
                c = found[name][method][j]
                times = (f"{1e3 * seconds:.1f}" for seconds in (c.forward, c.backward))
                process = [f"{resident(partial(once, name, method), k):.0f}"] if asked and k == steps[-1] else []
                rows.append((f"{k} steps, {method}", f"{c.memory:.2f}", *times, f"{c.error:.0e}", *process))
        columns = ("MiB", "forward, ms", "backward, ms", "error", *(["process, MiB"] if asked else []))
        show(name, ("", *columns), rows)
    draw(OUT / "unrolling.png", steps, found)
    wrote(OUT / "unrolling.png")


if __name__ == "__main__":
    main()
