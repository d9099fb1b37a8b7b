"""Second derivatives equal differences of the first; cone programs end there, and say so."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.cases import CASES, Case, Data

STEP = 1e-5
SMOOTH = [case for case in CASES if case.second_order]
CONES = [case for case in CASES if case.name in ("portfolio", "nearest_correlation")]


def first_derivative(
    case: Case, layer: dl.Layer, data: Mapping[str, Tensor], cotangents: Mapping[str, Tensor], weights: Data
) -> Tensor:
    """The derivative of sum(cotangent * output^2) along ``weights``, itself differentiable."""
    found = case.named(layer(**data))
    # The square makes the cotangent depend on the solution, so that both terms of the second derivative show.
    total = sum(((v + v.square()) * cotangents[n]).sum() for n, v in found.items())
    leaves = dict(data) | dict(layer.named_parameters())
    gradients = torch.autograd.grad(
        total, list(leaves.values()), create_graph=True, allow_unused=True, materialize_grads=True
    )
    return sum((weights[n] * g).sum() for n, g in zip(leaves, gradients, strict=True))  # type: ignore[return-value]


def random_like(values: Mapping[str, Tensor], seed: int) -> Data:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(v.shape, generator=generator, dtype=v.dtype) for n, v in values.items()}


@pytest.mark.parametrize("case", SMOOTH, ids=str)
@pytest.mark.parametrize("batch", [(), (3,)], ids=["one", "batch"])
def test_second_derivatives_equal_differences_of_the_first(case: Case, batch: tuple[int, ...]) -> None:
    layer = case.layer()
    data = case.data(1, batch, shared=())
    leaves = {n: v.clone().requires_grad_() for n, v in data.items()}
    owned = dict(layer.named_parameters())
    cotangents = random_like(case.named(layer(**data)), 51)
    weights = random_like(leaves | owned, 52)
    slope = first_derivative(case, layer, leaves, cotangents, weights)
    targets = leaves | owned
    second = torch.autograd.grad(slope, list(targets.values()), allow_unused=True, materialize_grads=True)
    directions = random_like(targets, 53)
    for (name, target), gradient in zip(targets.items(), second, strict=True):
        direction, start = directions[name], target.detach().clone()
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                target.copy_(start + sign * STEP * direction)
            ends.append(first_derivative(case, layer, leaves, cotangents, weights).item())
        with torch.no_grad():
            target.copy_(start)
        numeric = (ends[0] - ends[1]) / (2 * STEP)
        assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("name", ["softmax", "sparsemax", "circle"])
def test_hessian_in_closed_form_or_by_torch(name: str) -> None:
    """``torch.func.hessian`` of a layer equals that of the formula, where there is one."""
    case = next(c for c in CASES if c.name == name)
    layer, data = case.layer(), case.data(1)
    first, *others = data.values()
    formula = {
        "softmax": lambda x: torch.softmax(x, -1).square().sum(),
        "sparsemax": lambda x: _sparsemax(x).square().sum(),
        "circle": lambda x: (others[0].sign() * torch.sqrt(1 - x**2)) ** 3,
    }[name]
    reached = {
        "softmax": lambda x: layer(x).square().sum(),
        "sparsemax": lambda x: layer(x).square().sum(),
        "circle": lambda x: layer(x, *others) ** 3,
    }[name]
    expected = torch.func.hessian(formula)(first)
    torch.testing.assert_close(torch.func.hessian(reached)(first), expected, rtol=1e-8, atol=1e-9)


def _sparsemax(x: Tensor) -> Tensor:
    """The projection by trying every size of the support."""
    ordered = x.sort(descending=True).values
    for size in range(len(x), 0, -1):
        threshold = (ordered[:size].sum() - 1) / size
        if ordered[size - 1] > threshold:
            return (x - threshold).clamp_min(0)
    raise AssertionError("a support of one always fits")


@pytest.mark.parametrize("case", CONES, ids=str)
def test_cone_programs_refuse_third_derivatives(case: Case) -> None:
    layer = case.layer()
    data = {n: v.requires_grad_() for n, v in case.data(1).items()}
    total: Tensor = sum(v.square().sum() for v in case.named(layer(**data)).values())  # type: ignore[assignment]
    first = torch.autograd.grad(total, list(data.values()), create_graph=True)
    slope: Tensor = sum(g.square().sum() for g in first)  # type: ignore[assignment]
    second = torch.autograd.grad(slope, list(data.values()), create_graph=True)
    with pytest.raises(NotImplementedError, match="third derivatives of a cone program are not available"):
        sum(g.square().sum() for g in second).backward()  # type: ignore[union-attr]


@pytest.mark.parametrize("case", [c for c in CASES if c.name in ("elastic_net", "mpc")], ids=str)
def test_quadratic_programs_differentiate_twice(case: Case) -> None:
    """The pieces are affine in the right-hand sides, so differences see exact zeros and nonzeros alike."""
    layer, data = case.layer(), case.data(3)
    leaves = {n: v.clone().requires_grad_() for n, v in data.items()}
    cotangents = random_like(case.named(layer(**data)), 54)
    owned = dict(layer.named_parameters())
    weights = random_like(leaves | owned, 55)
    second = torch.autograd.grad(
        first_derivative(case, layer, leaves, cotangents, weights), list(leaves.values()), allow_unused=True
    )
    directions = random_like(leaves, 56)
    for (name, leaf), gradient in zip(leaves.items(), second, strict=True):
        start, ends = leaf.detach().clone(), []
        for sign in (1, -1):
            with torch.no_grad():
                leaf.copy_(start + sign * STEP * directions[name])
            ends.append(first_derivative(case, layer, leaves, cotangents, weights).item())
        with torch.no_grad():
            leaf.copy_(start)
        numeric = (ends[0] - ends[1]) / (2 * STEP)
        analytic = 0.0 if gradient is None else float((gradient * directions[name]).sum())
        assert analytic == pytest.approx(numeric, rel=1e-4, abs=1e-5), name
