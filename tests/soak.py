"""A long training run among failures: memory, threads and open files at its end are those after its warm-up.

    python -m tests.soak [--steps 20000]

Two layers in a row, a closed form and a solved quadratic program with a learned parameter, in a small model under
``on_failure = "nan"``. In a third of the steps some instances are infeasible or hold NaN, or all fail; the
batch changes its size. Every quantity is read from /proc, and the run ends with exit code 1 where one has grown.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import declarative as dl

PROC = Path("/proc/self")
GROWTH = 0.02
"""Growth of the resident memory that is allowed after the warm-up, as a share of it."""

ATTENTION = (
    "layer attention\ndim n\nparam x[n]\nvar y[n] nonneg\nminimize sum_squares(y - x)\nsubject to\n  sum(y) == 1\n"
)
ALLOCATION = """layer allocation
dim n
param gain[n]
param cap nonneg
param spread nonneg learned
var share[n]
maximize gain' @ share - 1/2 * sum_squares(share) - spread * (share[0] - share[1])^2
subject to
  budget: sum(share) == 1
  limits: 0 <= share <= cap
"""


@dataclass(frozen=True)
class Usage:
    """What the process holds: resident memory in MiB, threads, open files, and objects that the collector knows."""

    memory: float
    threads: int
    files: int
    objects: int

    @classmethod
    def now(cls) -> Usage:
        gc.collect()
        pages = int((PROC / "statm").read_text().split()[1])
        return cls(
            memory=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            threads=len(list((PROC / "task").iterdir())),
            files=len(list((PROC / "fd").iterdir())),
            objects=len(gc.get_objects()),
        )

    def __str__(self) -> str:
        return f"{self.memory:.1f} MiB, {self.threads} threads, {self.files} files, {self.objects} objects"


class Model(nn.Module):
    """Features (batch, 6), faults (batch, 8) in their scores, and caps (batch,) to shares (batch, 5).

    A fault is added behind the weights: in a feature it would reach them, as zero times NaN, whatever the layers do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.score, self.mix = nn.Linear(6, 8), nn.Linear(8, 5)
        self.attention = dl.compile(ATTENTION)(on_failure="nan")
        self.allocation = dl.compile(ALLOCATION)(spread=0.1, on_failure="nan")

    def forward(self, features: Tensor, faults: Tensor, caps: Tensor) -> Tensor:
        attended = self.attention(self.score(features) + faults)
        shares: Tensor = self.allocation(self.mix(attended.nan_to_num(0)), caps)
        return shares


def batch(random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Features, faults and caps of 1 to 24 instances; in a third of the batches, some that have no solution."""
    count = int(torch.randint(1, 25, (), generator=random))
    features, caps = torch.randn(count, 6, generator=random), 0.25 + torch.rand(count, generator=random)
    faults = torch.zeros(count, 8)
    kind = int(torch.randint(0, 12, (), generator=random))
    broken = torch.rand(count, generator=random) < 0.3
    if kind == 0:
        caps[broken] = 0.1  # five shares of at most 0.1 do not make 1
    elif kind == 1:
        faults[broken, 0] = torch.nan
    elif kind == 2:
        caps[broken] = torch.nan
    elif kind == 3:
        caps[:] = 0.1
    return features, faults, caps


def run(steps: int, seed: int = 0) -> list[str]:
    """Train; the complaints at the end, none where all is well. Prints twenty lines of progress."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    random, model = torch.Generator().manual_seed(seed), Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    monitors = model.attention.monitor(), model.allocation.monitor()
    target, complaints, begun, first, last = torch.linspace(0.1, 0.3, 5), [], time.monotonic(), None, None
    for step in range(1, steps + 1):
        shares = model(*batch(random))
        error = (shares - target).square().sum(-1)
        loss = torch.where(error.isnan(), 0, error).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not all(bool(p.isfinite().all()) for p in (loss, *model.parameters())):
            complaints.append(f"step {step}: the loss or a parameter is not finite")
            break
        if step % max(steps // 20, 1) == 0:
            last = Usage.now()
            if first is None and step >= steps // 4:
                first = last
            print(f"step {step}: loss {loss:.4f}, {last}, {time.monotonic() - begun:.0f} s", flush=True)
    for monitor in monitors:
        print(monitor.report())
    if not monitors[1].report().failed:
        complaints.append("no instance has failed: the run has tested nothing")
    return complaints + grown(first, last)


def grown(first: Usage | None, last: Usage | None) -> list[str]:
    """What is more at the end than after the warm-up."""
    if first is None or last is None:
        return ["the run ended before its warm-up did"]
    found = []
    if last.memory > first.memory * (1 + GROWTH):
        found.append(f"memory grew from {first.memory:.1f} to {last.memory:.1f} MiB")
    for name in ("threads", "files"):
        before, after = getattr(first, name), getattr(last, name)
        if after > before:
            found.append(f"{name}: {before} after the warm-up, {after} at the end")
    if last.objects > first.objects * 1.01 + 100:
        found.append(f"the collector knows {last.objects} objects, {first.objects} after the warm-up")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    complaints = run(parser.parse_args().steps)
    print("\n".join(complaints) or "nothing grew")
    sys.exit(bool(complaints))
