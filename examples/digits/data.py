"""The digits that scikit-learn ships: 1797 images of 8 x 8 pixels, split once for training, choosing and testing.

Reference: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, 1998.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

SPLIT_SEED = 0


@dataclass(frozen=True)
class Part:
    """Images (N, 8, 8) in [0, 1] and their classes (N,)."""

    images: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Digits:
    """``train`` fits weights, ``validation`` draws the curves, ``test`` is looked at once, after training."""

    train: Part
    validation: Part
    test: Part


def load(test: int = 400, validation: int = 197) -> Digits:
    """The data set, shuffled by a fixed seed."""
    digits = load_digits()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(digits.target))
    images = torch.as_tensor(digits.images[order] / 16, dtype=torch.float32)
    classes = torch.as_tensor(digits.target[order], dtype=torch.int64)
    parts = [slice(0, test), slice(test, test + validation), slice(test + validation, None)]
    held_out, watched, rest = (Part(images[part], classes[part]) for part in parts)
    return Digits(train=rest, validation=watched, test=held_out)
