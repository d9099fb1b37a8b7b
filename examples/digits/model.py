"""Two readers of digits with as many weights: one whose layers are optimisation problems, one dense.

Both give the negative log-likelihood of a class for training and scores for reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from declarative import Layer

CLASSES = 10
WINDOW = 3
"""Side of a window; an 8 x 8 image has 6 x 6 of them."""
PLACES = (8 - WINDOW + 1) ** 2


class Reading(NamedTuple):
    """What a reader makes of a batch of images."""

    log_p: Tensor  # (*batch, 10), log-probability of each class
    weights: Tensor | None = None  # (*batch, questions, 36), where it looked
    price: Tensor | None = None  # (*batch, m), what each learned limit costs


@dataclass(frozen=True)
class Layers:
    """The classes that the compiler wrote."""

    attend: type[Layer]
    decide: type[Layer]
    choose: type[Layer]


class DeclaredReader(nn.Module):
    """Looks at a few windows of the image (attend), weighs what it saw within limits (decide), answers (choose).

    Each of ``questions`` learned queries scores the 36 windows and reads the few that sparsemax gives weight. What
    they read becomes the linear term of a quadratic program with learned Q, G and h, whose solution is scored.
    """

    def __init__(self, layers: Layers, questions: int = 16, width: int = 32, n: int = 16, m: int = 16) -> None:
        super().__init__()
        self.embed = nn.Linear(WINDOW**2, width)
        self.place = nn.Parameter(torch.randn(PLACES, width) / width**0.5)
        self.query = nn.Parameter(torch.randn(questions, width) / width**0.5)
        self.value = nn.Linear(width, width)
        self.gather = nn.Linear(questions * width, n)
        self.score = nn.Linear(n, CLASSES)
        self.attend = layers.attend()
        self.decide = layers.decide(m=m, n=n, h=torch.full((m,), 0.5))
        self.choose = layers.choose()

    def forward(self, images: Tensor) -> Reading:
        windows = images.unfold(-2, WINDOW, 1).unfold(-2, WINDOW, 1).flatten(-4, -3).flatten(-2)
        seen = functional.relu(self.embed(windows) + self.place)  # (*batch, 36, width)
        weights = self.attend(self.query @ seen.mT)  # (*batch, questions, 36)
        read = weights @ self.value(seen)
        z, price = self.decide(self.gather(functional.relu(read.flatten(-2))))
        score = self.score(z)
        # At the optimum p = exp((score - level) / tau - 1), so the dual gives log p and no small number's log.
        log_p = (score - self.choose(score).level[..., None]) / self.choose.tau - 1
        return Reading(log_p, weights, price)


class DenseReader(nn.Module):
    """A perceptron with two hidden layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stack = nn.Sequential(
            nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CLASSES)
        )

    def forward(self, images: Tensor) -> Reading:
        return Reading(functional.log_softmax(self.stack(images.flatten(-2)), -1))


def size(model: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in model.parameters())


def dense_reader_of(weights: int) -> DenseReader:
    """The widest perceptron with at most so many weights."""
    width = max(w for w in range(1, 200) if w * w + 76 * w + CLASSES <= weights)
    return DenseReader(width)
