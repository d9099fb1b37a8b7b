"""What a candidate is: a name, what kind of thing it is, and how one forward and backward of a case is made with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from benchmarks.cases import Answer, Case, Layer

Call = Callable[[], Answer]
"""One forward and one backward: what is timed."""


class Kind(Enum):
    """What a candidate is compared as."""

    OURS = "ours"
    LAYER = "layer"
    """Differentiable by torch as it comes: what a user would otherwise take."""
    LOOP = "loop"
    """No layer, but a forward and a backward that someone could write."""
    YARDSTICK = "yardstick"
    """Solves less than the problem."""


class UnavailableError(Exception):
    """The candidate does not take this case; says why."""


@dataclass(frozen=True)
class Candidate:
    """``prepare`` does everything that a program does once (imports, compilation, making the layer) and returns the
    call that is timed. It raises `UnavailableError`, or whatever the peer raises, where there is nothing to time. It is
    called in a process of the candidate's own, and can be pickled."""

    name: str
    kind: Kind
    prepare: Callable[[Case], Call]
    distribution: str | None = None
    """Whose version is reported."""
    dtype: torch.dtype | None = None
    """Converts the case beforehand, where two precisions are compared."""


def differentiated(layer: Layer, case: Case) -> Call:
    """A layer that torch differentiates, called as in training: new leaves, forward, gradient of every parameter."""
    leaves = tuple(t.clone().requires_grad_() for t in case.parameters)

    def call() -> Answer:
        x = layer(*leaves)
        gradients = torch.autograd.grad(x, leaves, case.cotangent, allow_unused=True)
        return Answer(x.detach(), tuple(map(_or_zero, gradients, leaves)))

    return call


def _or_zero(gradient: Tensor | None, leaf: Tensor) -> Tensor:
    """A parameter without entries has no gradient."""
    if gradient is None and leaf.numel():
        raise RuntimeError(f"no gradient for a parameter of shape {tuple(leaf.shape)}")
    return torch.zeros_like(leaf) if gradient is None else gradient


def written_out(tensors: tuple[Tensor, ...], batch: int) -> tuple[Tensor, ...]:
    """Every parameter of a quadratic program with the batch dimension, for a peer without sharing; torch sums the
    gradients back."""
    ranks = (2, 1, 2, 1, 2, 1)
    return tuple(t if t.dim() > rank else t.expand(batch, *t.shape) for t, rank in zip(tensors, ranks, strict=True))
