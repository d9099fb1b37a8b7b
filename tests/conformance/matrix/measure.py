"""What properties measure with: values, gradients of everything a layer depends on, and closeness relative to size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

import declarative as dl
from tests.conformance.matrix.subject import Data, outputs

STEP = 1e-5


def cotangents(values: Iterable[Tensor], seed: int = 11) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(v.shape, generator=generator, dtype=torch.float64).to(v.dtype) for v in values]


def weigh(values: Iterable[Tensor], weights: Iterable[Tensor]) -> Tensor:
    """One number of everything that a layer returns; the square makes its second derivative depend on the solution."""
    total = [((v + v.square()) * w).sum() for v, w in zip(values, weights, strict=True)]
    return torch.stack(total).sum()


def leaves(data: Mapping[str, Tensor]) -> Data:
    return {name: value.detach().clone().requires_grad_() for name, value in data.items()}


def gradients(of: Tensor, targets: Mapping[str, Tensor], **options: Any) -> Data:
    """Of one number by everything named; zeros where nothing depends."""
    if not of.requires_grad:
        return {name: torch.zeros_like(target) for name, target in targets.items()}
    found = torch.autograd.grad(of, list(targets.values()), allow_unused=True, materialize_grads=True, **options)
    return dict(zip(targets, found, strict=True))


def values_and_gradients(
    layer: dl.Layer, data: Mapping[str, Tensor], weights: list[Tensor] | None = None
) -> tuple[list[Tensor], Data]:
    """Outputs of a call, and the gradients of their weighed sum by the parameters of the call and of the layer."""
    targets = leaves(data)
    values = outputs(layer, targets)
    total = weigh(values, cotangents(values) if weights is None else weights)
    return [v.detach() for v in values], gradients(total, targets | dict(layer.named_parameters()))


def direction(like: Tensor, seed: int = 12) -> Tensor:
    """A random direction of unit length."""
    drawn = cotangents([like], seed)[0]
    return drawn / drawn.norm().clamp_min(torch.finfo(drawn.dtype).tiny)


def difference(function: Callable[[], Tensor], point: Tensor, along: Tensor, step: float = STEP) -> float:
    """Central difference of a function of a tensor that is moved in place."""
    start, ends = point.detach().clone(), []
    for sign in (1, -1):
        with torch.no_grad():
            point.copy_(start + sign * step * along)
        ends.append(float(function().detach()))
    with torch.no_grad():
        point.copy_(start)
    return (ends[0] - ends[1]) / (2 * step)


def close(found: Tensor, expected: Tensor, accuracy: float, what: str) -> None:
    """Equal shapes, and entries equal to an accuracy relative to the largest of them or to 1."""
    assert found.shape == expected.shape, f"{what}: shape {tuple(found.shape)} against {tuple(expected.shape)}"
    if not expected.numel():
        return
    found, expected = found.detach().double(), expected.detach().double()
    scale = max(1.0, float(expected.abs().max()))
    error = float((found - expected).abs().max())
    assert error <= accuracy * scale, f"{what}: off by {error:.1e} at a size of {scale:.1e}"


def all_close(found: Iterable[Tensor], expected: Iterable[Tensor], accuracy: float, what: str) -> None:
    for i, (left, right) in enumerate(zip(found, expected, strict=True)):
        close(left, right, accuracy, f"{what} {i}")


def named_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], accuracy: float, what: str) -> None:
    assert set(found) == set(expected)
    for name, value in found.items():
        close(value, expected[name], accuracy, f"{what} of {name}")


def same_bits(found: Iterable[Tensor], expected: Iterable[Tensor], what: str) -> None:
    for i, (left, right) in enumerate(zip(found, expected, strict=True)):
        assert torch.equal(left, right), f"{what} {i}: other bits, by {float((left - right).abs().max()):.1e}"
