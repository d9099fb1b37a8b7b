"""Gradients of everything a convex program returns, by every parameter, equal central differences in float64.

A random cotangent makes one number of outputs and duals; it is differentiated along random directions that keep what
the attributes of a parameter promise. The data are regular: the solution is unique and strictly complementary.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.convex.posed import Posed
from tests.conformance.convex.references import NAMES, PROGRAMS

STEP = 1e-5


def scalar(program: Posed, layer: dl.Layer, data: Mapping[str, Tensor]) -> Tensor:
    """Outputs and duals under a random cotangent."""
    solution = layer.solve(**data)
    assert bool(solution.solved.all())
    generator = torch.Generator().manual_seed(11)
    everything = [*program.named(solution.outputs).values(), *solution.duals.values()]
    return torch.stack([(v * torch.randn(v.shape, generator=generator, dtype=v.dtype)).sum() for v in everything]).sum()


def directions(count: int, point: Tensor, attributes: frozenset[str]) -> list[Tensor]:
    """Random directions of unit length, within the matrices that the attributes allow."""
    generator = torch.Generator().manual_seed(12)
    found = []
    for _ in range(count):
        direction = torch.randn(point.shape, generator=generator, dtype=point.dtype)
        if attributes & {"symmetric", "psd", "nsd"}:
            direction = (direction + direction.mT) / 2
        if "diag" in attributes:
            direction = torch.diag_embed(direction.diagonal())
        found.append(direction / direction.norm())
    return found


def difference(program: Posed, layer: dl.Layer, data: Mapping[str, Tensor], point: Tensor, direction: Tensor) -> float:
    """Central difference along a direction of a tensor of the call or of the layer, which is moved in place."""
    start, ends = point.detach().clone(), []
    with torch.no_grad():
        for sign in (1, -1):
            point.copy_(start + sign * STEP * direction)
            ends.append(scalar(program, layer, data).item())
        point.copy_(start)
    return (ends[0] - ends[1]) / (2 * STEP)


def assert_equals_differences(program: Posed, count: int) -> None:
    layer, data = program.layer(), program.data()
    leaves = {name: value.clone().requires_grad_() for name, value in data.items()}
    owned = dict(layer.named_parameters())
    gradients = torch.autograd.grad(
        scalar(program, layer, leaves),
        [*leaves.values(), *owned.values()],
        allow_unused=True,
        materialize_grads=True,
    )
    attributes = {spec.name: spec.attributes for spec in layer.parameters_of_call}
    for (name, point), gradient in zip((data | owned).items(), gradients, strict=True):
        along = directions(count, point, attributes.get(name, frozenset()))
        analytic = torch.stack([(gradient * d).sum() for d in along])
        numeric = torch.tensor([difference(program, layer, data, point, d) for d in along], dtype=analytic.dtype)
        largest = float(numeric.abs().max())
        assert largest > 1e-6 or name in program.immaterial, f"{name}: nothing depends on it"
        torch.testing.assert_close(
            analytic, numeric, rtol=1e-4, atol=1e-4 * largest + 1e-8, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("program", PROGRAMS, ids=NAMES)
def test_gradients_equal_differences(program: Posed) -> None:
    assert_equals_differences(program, 1)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=NAMES)
def test_gradients_equal_differences_along_several_directions(program: Posed) -> None:
    assert_equals_differences(program, 5)
