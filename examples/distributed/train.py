"""One process of the training: ``torchrun --nproc-per-node 2 -m examples.distributed.train OUT.json``.

Every process computes on its part of each batch, and DistributedDataParallel averages the gradients. Parts are equal,
so the average of their means is the mean over the batch: the run is that of one process, whatever their number.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import declarative as dl

HERE = Path(__file__).parent
BATCH, EPOCHS, FACES, WIDTH = 128, 30, 48, 32


class Classifier(nn.Module):
    """Images (batch, 64) to scores (batch, 10), through a learned polyhedron."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decide = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
        normals = torch.randn(FACES, WIDTH) / WIDTH**0.5
        self.polyhedron = dl.compile(HERE / "polyhedron.opt")(G=normals, room=torch.full((FACES,), 0.1))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.decide(self.polyhedron(self.encode(images)))
        return scores


def digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Images (rows, 64) and their digits, 1408 rows (eleven batches) to train on and 389 to test."""
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, kinds = torch.as_tensor(pixels / 16)[order], torch.as_tensor(labels)[order]
    return (images[: 11 * BATCH], kinds[: 11 * BATCH]), (images[11 * BATCH :], kinds[11 * BATCH :])


def train(rank: int, world: int, epochs: int = EPOCHS) -> dict[str, object]:
    """What came of it: loss of each epoch, time of each step in seconds, accuracy, and a sum of all parameters."""
    torch.manual_seed(0)
    model = Classifier()
    monitor = model.polyhedron.monitor()
    parallel: nn.Module = DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.Adam(parallel.parameters(), lr=3e-3)
    (images, kinds), test = digits()
    shuffle = torch.Generator().manual_seed(1)  # the same order in every process
    losses, seconds = [], []
    for _ in range(epochs):
        total = torch.zeros(())
        for rows in torch.randperm(len(kinds), generator=shuffle).split(BATCH):
            own = rows.chunk(world)[rank]
            begun = time.perf_counter()
            loss = cross_entropy(parallel(images[own]), kinds[own])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seconds.append(time.perf_counter() - begun)
            total += loss.detach() * len(own) / len(kinds)
        if world > 1:
            dist.all_reduce(total)
        losses.append(total.item())
    with torch.no_grad():
        right = (model(test[0]).argmax(-1) == test[1]).double().mean().item()
    counted = monitor.report()
    return {
        "losses": losses,
        "seconds": seconds,
        "right": right,
        "parameters": sum(p.detach().square().sum().item() for p in model.parameters()),
        "instances": counted.instances,
        "failed": counted.failed,
    }


def main(out: Path) -> None:
    """Train as one of the processes that torchrun has started, or alone; the first writes what came of it."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = train(dist.get_rank(), dist.get_world_size())
    if dist.get_rank() == 0:
        out.write_text(json.dumps(found), "utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
