"""Regression of sinusoids: amplitude in [0.1, 5], phase in [0, π], inputs in [-5, 5], ten of them to learn from.

Reference: Finn, Abbeel and Levine, Model-agnostic meta-learning for fast adaptation of deep networks, 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SHOTS = 10


@dataclass(frozen=True)
class Tasks:
    """Inputs and targets (*batch, SHOTS) to fit, and (*batch, m) to judge by; amplitude and phase (*batch, 1)."""

    x: Tensor
    y: Tensor
    x_query: Tensor
    y_query: Tensor
    amplitude: Tensor
    phase: Tensor


def draw_tasks(*batch: int, generator: torch.Generator, queries: int = SHOTS) -> Tasks:
    """Random tasks; of two draws from equal states of the generator the tasks are equal."""

    def uniform(low: float, high: float, size: int) -> Tensor:
        return low + (high - low) * torch.rand(*batch, size, generator=generator, dtype=torch.float64)

    amplitude, phase = uniform(0.1, 5, 1), uniform(0, math.pi, 1)
    x, x_query = uniform(-5, 5, SHOTS), uniform(-5, 5, queries)
    y, y_query = (amplitude * torch.sin(at + phase) for at in (x, x_query))
    return Tasks(x, y, x_query, y_query, amplitude, phase)
