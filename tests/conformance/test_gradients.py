"""First derivatives of outputs and duals by every parameter, learned or an extern's weight too, equal differences.

A random cotangent makes one number of everything that a layer returns; its derivative along random directions is
compared with central differences. The seeds are ones that have active and inactive constraints, with a margin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.cases import CASES, NAMES, Case

STEP = 1e-5
DIRECTIONS = 3


def scalar(case: Case, layer: dl.Layer, data: Mapping[str, Tensor], seed: int = 11) -> Tensor:
    """The outputs and duals under a random cotangent."""
    solution = layer.solve(**data)
    assert bool(solution.solved.all())
    generator = torch.Generator().manual_seed(seed)
    everything = [*case.named(solution.outputs).values(), *solution.duals.values()]
    cotangents = [torch.randn(v.shape, generator=generator, dtype=v.dtype) for v in everything]
    return sum(((v * c).sum() for v, c in zip(everything, cotangents, strict=True)), torch.zeros(()))


def differences(function: Callable[[], Tensor], point: Tensor, direction: Tensor) -> float:
    """Central difference of a function of a tensor that is moved in place."""
    start = point.detach().clone()
    ends = []
    with torch.no_grad():
        for sign in (1, -1):
            point.copy_(start + sign * STEP * direction)
            ends.append(function().item())
        point.copy_(start)
    return (ends[0] - ends[1]) / (2 * STEP)


def along(point: Tensor, count: int = DIRECTIONS, symmetric: bool = False, seed: int = 12) -> list[Tensor]:
    """Random directions of unit length."""
    generator = torch.Generator().manual_seed(seed)
    directions = [torch.randn(point.shape, generator=generator, dtype=point.dtype) for _ in range(count)]
    if symmetric:
        directions = [d + d.mT for d in directions]
    return [d / d.norm() for d in directions]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
@pytest.mark.parametrize("seed", [2, 3])
def test_gradients_equal_differences(case: Case, seed: int) -> None:
    """Of the parameters of the call as they are declared; semidefinite and symmetric ones move in any direction.

    Only the symmetric part of a quadratic form's matrix counts, so it is defined off the symmetric matrices too.
    """
    layer, data = case.layer(), case.data(seed)
    leaves = {name: value.clone().requires_grad_() for name, value in data.items()}
    owned = dict(layer.named_parameters())
    everything = leaves | owned
    gradients = torch.autograd.grad(scalar(case, layer, leaves), list(everything.values()), allow_unused=True)
    for (name, point), gradient in zip(everything.items(), gradients, strict=True):
        moved = data.get(name, point)
        directions = along(moved)
        analytic = torch.stack(
            [(torch.zeros_like(point) if gradient is None else gradient).mul(d).sum() for d in directions]
        )
        numeric = torch.tensor(
            [differences(lambda: scalar(case, layer, data), moved, d) for d in directions], dtype=analytic.dtype
        )
        torch.testing.assert_close(
            analytic,
            numeric,
            rtol=1e-4,
            atol=1e-4 * float(numeric.abs().max()) + 1e-9,
            msg=lambda m, name=name: f"{name}: {m}",
        )
