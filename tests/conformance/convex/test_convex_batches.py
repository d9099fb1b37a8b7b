"""A batch of convex programs is the loop over its instances, gradients of what is shared are sums; float32 runs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.convex.posed import Posed, instances
from tests.conformance.convex.references import NAMES, PROGRAMS

COUNT = 3

Values = dict[str, Tensor]


def solved(program: Posed, layer: dl.Layer, data: Values) -> Values:
    """Outputs and duals."""
    solution = layer.solve(**data)
    assert bool(solution.solved.all()), solution.status
    return program.named(solution.outputs) | {f"dual of {name}": value for name, value in solution.duals.items()}


def gradients(layer: dl.Layer, values: Values, cotangents: Values, data: Values) -> Values:
    total = torch.stack([(values[name] * cotangents[name]).sum() for name in values]).sum()
    leaves = data | dict(layer.named_parameters())
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


@pytest.mark.parametrize("program", PROGRAMS, ids=NAMES)
@pytest.mark.parametrize("mixed", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["all", "shared"])
def test_batch_equals_loop(program: Posed, mixed: bool) -> None:
    """With every parameter batched, and with every second one shared by the batch."""
    batched = {n: 0 if mixed and position % 2 else COUNT for position, n in enumerate(program.draws)}
    layer = program.layer()
    data = {name: value.requires_grad_() for name, value in program.data(batched).items()}
    values = solved(program, layer, data)
    generator = torch.Generator().manual_seed(7)
    cotangents = {n: torch.randn(v.shape, generator=generator, dtype=v.dtype) for n, v in values.items()}
    found = gradients(layer, values, cotangents, data)
    expected = {name: torch.zeros_like(value) for name, value in found.items()}
    for i, instance in enumerate(instances(data, batched, COUNT)):
        alone = {name: value.detach().clone().requires_grad_() for name, value in instance.items()}
        single = solved(program, layer, alone)
        for name, value in single.items():
            torch.testing.assert_close(values[name][i], value, rtol=1e-8, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")
        of_one = gradients(layer, single, {n: c[i] for n, c in cotangents.items()}, alone)
        for name, gradient in of_one.items():
            if batched.get(name):
                expected[name][i] = gradient
            else:
                expected[name] += gradient
    for name, gradient in found.items():
        torch.testing.assert_close(
            gradient, expected[name], rtol=1e-6, atol=1e-7, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("program", PROGRAMS, ids=NAMES)
def test_float32_runs(program: Posed) -> None:
    exact = program.named(program.layer()(**program.data()))
    layer = program.layer().float()
    data = {name: value.float().requires_grad_() for name, value in program.data().items()}
    outputs = program.named(layer(**data))
    for name, value in outputs.items():
        assert value.dtype == torch.float32, name
        torch.testing.assert_close(value.double(), exact[name], rtol=1e-3, atol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    torch.stack([value.sum() for value in outputs.values()]).sum().backward()
    for name, leaf in data.items():
        assert leaf.grad is None or leaf.grad.dtype == torch.float32, name
        assert leaf.grad is None or bool(leaf.grad.isfinite().all()), name
