"""Training a reader: minibatches, AdamW, one learning-rate cycle, a fixed number of epochs, no choice on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.digits.data import Part


@dataclass(frozen=True)
class Recipe:
    """How long and how fast; the same for both readers. ``moved``: share of the images that are moved by a pixel."""

    epochs: int = 60
    batch: int = 100
    rate: float = 1e-2
    weight_decay: float = 1e-2
    moved: float = 0.3


@dataclass(frozen=True)
class Epoch:
    """The mean training loss of an epoch, and accuracy on the validation images after it."""

    loss: float
    accuracy: float


def train(model: nn.Module, part: Part, validation: Part, recipe: Recipe, seed: int) -> Iterator[Epoch]:
    """Train in place; yields after each epoch."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)
    steps = -(-len(part) // recipe.batch) * recipe.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
    for _ in range(recipe.epochs):
        total = 0.0
        for chosen in torch.randperm(len(part), generator=generator).split(recipe.batch):
            images = moved(part.images[chosen], recipe.moved, generator)
            loss = functional.nll_loss(model(images).log_p, part.classes[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        yield Epoch(total / len(part), accuracy(model, validation))


def moved(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Some of the images (N, 8, 8) moved by up to a pixel each way, filled with background."""
    count, side, _ = images.shape
    by = torch.randint(-1, 2, (count, 2), generator=generator)
    by = by * (torch.rand(count, 1, generator=generator) < share)
    rows, columns = ((torch.arange(side) + 1 + by[:, axis, None]) for axis in (0, 1))
    padded = functional.pad(images, (1, 1, 1, 1))
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


@torch.no_grad()
def accuracy(model: nn.Module, part: Part) -> float:
    """Share of images whose most probable class is theirs."""
    return float((model(part.images).log_p.argmax(-1) == part.classes).double().mean())
