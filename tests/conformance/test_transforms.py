"""Layers under ``torch.func``: vmap is the batch, both Jacobians the derivative; low precision returns as it came."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.cases import CASES, NAMES, Case


def outputs(layer: dl.Layer, *arguments: Tensor) -> tuple[Tensor, ...]:
    returned = layer(*arguments)
    return (returned,) if isinstance(returned, Tensor) else tuple(returned)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_vmap_is_the_batch(case: Case) -> None:
    """Over some of the parameters; the others are shared."""
    layer, data, ranks = case.layer(), case.data(2, (3,), shared=()), case.ranks()
    dims = tuple(0 if value.dim() > ranks[name] else None for name, value in data.items())
    mapped = torch.func.vmap(lambda *a: outputs(layer, *a), in_dims=dims)(*data.values())
    for value, expected in zip(mapped, outputs(layer, *data.values()), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_jacobians(case: Case) -> None:
    """By the first parameter: reverse mode, forward mode and reverse mode over a batch, against central differences."""
    layer, (first, *others) = case.layer(), case.data(2).values()

    def function(value: Tensor) -> Tensor:
        return torch.cat([o.flatten() for o in outputs(layer, value, *others)])

    reverse = torch.func.jacrev(function)(first)
    columns = []
    for direction in torch.eye(first.numel(), dtype=first.dtype):
        step = 1e-5 * direction.reshape(first.shape)
        columns.append((function(first + step) - function(first - step)).detach() / 2e-5)
    numeric = torch.stack(columns, -1).reshape(reverse.shape)
    scale = float(numeric.abs().max())
    torch.testing.assert_close(reverse.detach(), numeric, rtol=1e-4, atol=1e-6 * max(scale, 1))
    torch.testing.assert_close(
        torch.func.jacfwd(function)(first).detach(), numeric, rtol=1e-4, atol=1e-6 * max(scale, 1)
    )
    two = torch.stack([first, first])
    mapped = torch.func.vmap(torch.func.jacrev(function))(two)
    torch.testing.assert_close(mapped[1], reverse, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_bfloat16_is_computed_in_float32_and_returned_as_it_came(case: Case) -> None:
    data = {name: value.bfloat16() for name, value in case.data(2, (3,)).items()}
    low = outputs(case.layer().float(), *data.values())
    exact = outputs(case.layer(), *(value.double() for value in data.values()))
    for value, expected in zip(low, exact, strict=True):
        assert value.dtype == torch.bfloat16
        scale = float(expected.detach().abs().max().clamp_min(1))
        torch.testing.assert_close(value.double(), expected, rtol=2e-2, atol=4e-3 * scale)
