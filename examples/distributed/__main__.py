"""A layer trained by one process and by two, to the same end: ``python -m examples.distributed``."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from examples.command import OUT, program, show, wrote
from examples.distributed.figure import draw

PROCESSES = (1, 2)


def main() -> None:
    """Both runs, a table, and the figure."""
    argparse.ArgumentParser(prog=program(), description=__doc__, allow_abbrev=False).parse_args()
    OUT.mkdir(exist_ok=True)
    runs = {count: launched(count, OUT / f"distributed-{count}.json") for count in PROCESSES}
    rows = []
    for count, run in runs.items():
        apart = abs(run["parameters"] - runs[1]["parameters"]) / runs[1]["parameters"]
        quick, usual = 1e3 * min(run["seconds"]), 1e3 * statistics.median(run["seconds"])
        times = f"{quick:.1f}", f"{usual:.1f}"
        rows.append((f"{count}", f"{run['losses'][-1]:.6f}", f"{run['right']:.1%}", f"{apart:.0e}", *times))
    columns = ("processes", "loss", "right in the test", "parameters apart", "ms a step, fastest", "median")
    show("Digits through a learned polyhedron", columns, rows)
    draw(OUT / "distributed.png", runs)
    wrote(OUT / "distributed.png")


def launched(count: int, out: Path) -> dict[str, Any]:
    """What `train` found in so many processes, started by torchrun on a free port."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    subprocess.run([sys.executable, *torchrun, "-m", "examples.distributed.train", str(out)], check=True)
    found: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return found


if __name__ == "__main__":
    main()
