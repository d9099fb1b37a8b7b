"""A batch is its instances: outputs, duals and gradients equal those of a loop, whatever leads which parameter."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.cases import CASES, NAMES, Case, Data, Lead

FEW, MANY = 5, 64


def cotangents(case: Case, layer: dl.Layer, data: Mapping[str, Tensor], seed: int = 21) -> Data:
    """A random cotangent for every output and dual of a call."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        values = everything(case, layer, data)
    return {name: torch.randn(v.shape, generator=generator, dtype=v.dtype) for name, v in values.items()}


def everything(case: Case, layer: dl.Layer, data: Mapping[str, Tensor]) -> Data:
    """Outputs and duals, by name."""
    solution = layer.solve(**data)
    assert bool(solution.solved.all())
    duals = {f"dual {name}": dual for name, dual in solution.duals.items()}
    return {**case.named(solution.outputs), **duals}


def values_and_gradients(
    case: Case, layer: dl.Layer, data: Mapping[str, Tensor], cotangent: Mapping[str, Tensor]
) -> tuple[Data, Data]:
    leaves = {name: value.clone().requires_grad_() for name, value in data.items()}
    owned = dict(layer.named_parameters())
    values = everything(case, layer, leaves)
    total = sum(((values[name] * cotangent[name]).sum() for name in values), torch.zeros((), dtype=torch.float64))
    targets = leaves | owned
    gradients = torch.autograd.grad(total, list(targets.values()), allow_unused=True, materialize_grads=True)
    return {k: v.detach() for k, v in values.items()}, dict(zip(targets, gradients, strict=True))


def instance(case: Case, data: Data, batch: Lead, index: Lead) -> Data:
    """The parameters of one instance of a batch."""
    taken = {}
    for name, rank in case.ranks().items():
        value = data[name]
        taken[name] = value.expand(*batch, *value.shape[value.dim() - rank :])[index]
    return taken


def loop(case: Case, layer: dl.Layer, data: Data, batch: Lead, cotangent: Data) -> tuple[dict[Lead, Data], Data]:
    """Values of every instance by its index, and gradients added up to the shapes of ``data``."""
    ranks = case.ranks()
    values: dict[Lead, Data] = {}
    gradients: Data = {}
    for index in torch.ones(batch).nonzero().tolist():
        at = tuple(index)
        own = {name: c[at] for name, c in cotangent.items()}
        values[at], found = values_and_gradients(case, layer, instance(case, data, batch, at), own)
        for name, gradient in found.items():
            if name not in ranks:
                gradients[name] = gradients.get(name, 0) + gradient
                continue
            lead = data[name].shape[: data[name].dim() - ranks[name]]
            place = tuple(0 if n == 1 else i for n, i in zip(lead, at[len(at) - len(lead) :], strict=True))
            gradients.setdefault(name, torch.zeros_like(data[name]))[place] += gradient
    return values, gradients


def assert_equals_loop(case: Case, data: Data, batch: Lead) -> None:
    layer = case.layer()
    cotangent = cotangents(case, layer, data)
    values, gradients = values_and_gradients(case, layer, data, cotangent)
    expected, expected_gradients = loop(case, layer, data, batch, cotangent)
    for name, value in values.items():
        assert value.shape[: len(batch)] == batch, name
        for at, single in expected.items():
            torch.testing.assert_close(value[at], single[name], rtol=1e-8, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")
    assert set(gradients) == set(expected_gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            gradient, expected_gradients[name], rtol=1e-6, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("case", CASES, ids=NAMES)
@pytest.mark.parametrize("size", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_batch_with_shared_parameters_equals_a_loop(case: Case, size: int) -> None:
    """Gradients of what the batch shares are sums."""
    assert_equals_loop(case, case.data(31, (size,), shared=()), (size,))


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_everything_batched_equals_a_loop(case: Case) -> None:
    assert_equals_loop(case, case.data(32, (3,)), (3,))


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_batch_dimensions_broadcast(case: Case) -> None:
    """(2, 1) for some parameters and (3,) for the others are a batch of (2, 3)."""
    if case.shared:
        assert_equals_loop(case, case.data(33, (3,), shared=(2, 1)), (2, 3))
    else:
        assert_equals_loop(case, case.data(33, (2, 3)), (2, 3))


@pytest.mark.parametrize("case", CASES, ids=NAMES)
@pytest.mark.parametrize("batch", [(1,), (0,), (2, 0), (1, 1)], ids=str)
def test_batches_of_one_and_of_none(case: Case, batch: Lead) -> None:
    layer = case.layer()
    single = everything(case, layer, case.data(1))
    data = {n: v.expand(*batch, *v.shape).clone() for n, v in case.data(1).items()}
    values, gradients = values_and_gradients(case, layer, data, cotangents(case, layer, data))
    for name, value in values.items():
        assert value.shape == (*batch, *single[name].shape)
        torch.testing.assert_close(value, single[name].detach().expand_as(value), rtol=1e-8, atol=1e-8)
    for name, value in data.items():
        assert gradients[name].shape == value.shape
        assert bool(gradients[name].isfinite().all())


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_float32_in_is_float32_out(case: Case) -> None:
    layer, data = case.layer(), case.data(1, (2,))
    exact = everything(case, layer, data)
    low = {name: value.float().requires_grad_() for name, value in data.items()}
    layer = case.layer().float()
    values = everything(case, layer, low)
    sum(v.sum() for v in values.values()).backward()  # type: ignore[union-attr]
    for name, value in values.items():
        assert value.dtype == torch.float32, name
        scale = float(exact[name].detach().abs().max().clamp_min(1))
        torch.testing.assert_close(value.double(), exact[name], rtol=1e-3, atol=1e-3 * scale)
    for name, leaf in low.items():
        assert leaf.grad is None or leaf.grad.dtype == torch.float32, name
        assert leaf.grad is None or bool(leaf.grad.isfinite().all()), name
