"""The two inner problems, whose solutions are known in closed form, and descents that converge on them slowly."""

from __future__ import annotations

from pathlib import Path

import torch

import declarative as dl
from examples.unrolling.cost import Case, gradients

HERE = Path(__file__).parent


def ridge(batch: int = 32, m: int = 200, n: int = 100) -> Case:
    """Ridge regressions with random data."""
    generator = torch.Generator().manual_seed(0)

    def random(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    A, b, rho = random(batch, m, n) / m**0.5, random(batch, m), torch.tensor(0.05, dtype=torch.float64)
    steepest = float(torch.linalg.matrix_norm(A, 2).max()) ** 2 + float(rho)
    return Case(dl.compile(HERE / "ridge.opt")(), (A, b, rho), 1 / steepest, random(batch, n))


def softmax(batch: int = 128, n: int = 20) -> Case:
    """Random choices among n + 1."""
    generator = torch.Generator().manual_seed(0)
    score = torch.randn(batch, n, generator=generator, dtype=torch.float64)
    direction = torch.randn(batch, n, generator=generator, dtype=torch.float64)
    tau = torch.ones(batch, dtype=torch.float64)
    return Case(dl.compile(HERE / "softmax.opt")(), (score, tau), 4.0, direction)


CASES = {"ridge": ridge, "softmax": softmax}


def once(name: str, method: str, steps: int) -> None:
    """One gradient, in a process of its own."""
    gradients(CASES[name](), method, steps)
