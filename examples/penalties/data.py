"""The two data sets, standardised, and shuffled by a fixed seed into what fits, what chooses and what is read once.

References: Efron, Hastie, Johnstone and Tibshirani, Least angle regression, 2004, for the diabetes data with squares
and products; Street, Wolberg and Mangasarian, Nuclear feature extraction for breast tumor diagnosis, 1993.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from torch import Tensor

FOLDS, TEST = 5, 112
PAIRS = [(i, j) for i in range(10) for j in range(i, 10) if (i, j) != (1, 1)]
"""The measurements that are multiplied; the square of sex, number 1, has two values and says nothing new."""


@dataclass(frozen=True)
class Folds:
    """Features and targets: (5, m, n) and (5, m) to fit and to judge, fold by fold; (m, n) and (m) of the others."""

    fit: tuple[Tensor, Tensor]
    judge: tuple[Tensor, Tensor]
    all: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def diabetes() -> Folds:
    """442 patients; 64 features: 10 measurements, their squares but one, and their products."""
    X, y = load_diabetes(return_X_y=True)
    X = np.column_stack([X, *(X[:, i] * X[:, j] for i, j in PAIRS)])
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order], y[order]
    X, y = (X - X[TEST:].mean(0)) / X[TEST:].std(0), (y - y[TEST:].mean()) / y[TEST:].std()
    parts = np.split(np.arange(TEST, len(y)), FOLDS)
    rest = [np.setdiff1d(np.arange(TEST, len(y)), part) for part in parts]

    def rows(which: np.ndarray | list[np.ndarray] | slice) -> tuple[Tensor, Tensor]:
        chosen = np.stack(which) if isinstance(which, list) else which
        return torch.as_tensor(X[chosen]), torch.as_tensor(y[chosen])

    return Folds(rows(rest), rows(parts), rows(slice(TEST, None)), rows(slice(TEST)))


def cancer() -> list[tuple[Tensor, Tensor]]:
    """569 tumours, 30 features, classes 1 (benign) or -1: 200 to fit, 200 to judge, 169 for the test."""
    X, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order], 2.0 * y[order] - 1
    X = (X - X[:200].mean(0)) / X[:200].std(0)
    parts = (slice(200), slice(200, 400), slice(400, None))
    return [(torch.as_tensor(X[part]), torch.as_tensor(y[part])) for part in parts]


def kinds() -> Tensor:
    """Of each diabetes feature: 0 for a measurement, 1 for a square, 2 for a product; (64,)."""
    return torch.tensor([0] * 10 + [1 if i == j else 2 for i, j in PAIRS])
