"""One instance that has no solution, or no numbers, does not fail the others, and is never passed over in silence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.cases import CASES, NAMES, Case, Data
from tests.conformance.test_batches import cotangents, values_and_gradients

SIZE, BAD = 64, 17
BY_NAME = {case.name: case for case in CASES}


def without(case: Case, data: Data) -> Data:
    """The batch without its bad instance; what is shared stays."""
    keep = torch.arange(SIZE) != BAD
    ranks = case.ranks()
    return {n: v[keep] if v.dim() > ranks[n] else v for n, v in data.items()}


def assert_others_are_exact(case: Case, layer: dl.Layer, data: Data, good: Data) -> None:
    """Values and gradients of a batch with a bad instance under ``"nan"`` against those of the others by themselves."""
    keep = torch.arange(SIZE) != BAD
    leaves = {name: value.clone().requires_grad_() for name, value in data.items()}
    found = case.named(layer(**leaves))
    chosen = cotangents(case, layer, good)
    total: Tensor = sum((found[n][keep] * chosen[n]).sum() for n in found)  # type: ignore[assignment]
    # The loss of a user who looks past NaN reaches the bad row too.
    total = total + sum(torch.nan_to_num(v[BAD]).sum() for v in found.values())
    owned = dict(layer.named_parameters())
    gradients = dict(
        zip(
            leaves | owned,
            torch.autograd.grad(total, [*leaves.values(), *owned.values()], allow_unused=True, materialize_grads=True),
            strict=True,
        )
    )
    only_outputs = {n: c if n in found else torch.zeros_like(c) for n, c in chosen.items()}
    expected, expected_gradients = values_and_gradients(case, layer, good, only_outputs)
    for name, value in found.items():
        assert bool(value[BAD].isnan().all()), name
        torch.testing.assert_close(value[keep].detach(), expected[name], rtol=1e-8, atol=1e-8)
    ranks = case.ranks()
    for name, gradient in gradients.items():
        if name in ranks and data[name].dim() > ranks[name]:
            assert bool((gradient[BAD] == 0).all()), name
            gradient = gradient[keep]
        torch.testing.assert_close(
            gradient, expected_gradients[name], rtol=1e-6, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}"
        )


def infeasible(name: str) -> tuple[Case, Data]:
    """A batch of which one instance has contradicting constraints."""
    case = BY_NAME[name]
    data = case.data(41, (SIZE,), shared=())
    if name == "optnet_qp":
        data["G"] = data["G"].expand(SIZE, 3, 5).clone()
        data["G"][BAD, 1] = -data["G"][BAD, 0]
        data["h"][BAD, :2] = -1
    elif name == "portfolio":
        data["sigma_max"][BAD] = 0.01
    else:
        data["limit"][BAD] = 0.5 * float(data["cost"].min())
    return case, data


@pytest.mark.parametrize("name", ["optnet_qp", "portfolio", "budget_softmax"])
def test_infeasible_instance(name: str) -> None:
    case, data = infeasible(name)
    layer = case.layer()
    with pytest.raises(dl.SolveError, match=rf"(?s)1 of {SIZE} instances.*instance {BAD}: infeasible"):
        layer(**data)
    status = layer.solve(**data).status
    assert dl.Status(int(status[BAD])) is dl.Status.INFEASIBLE
    assert int((status == 0).sum()) == SIZE - 1
    layer.on_failure = "nan"
    assert_others_are_exact(case, layer, data, without(case, data))


@pytest.mark.parametrize("case", CASES, ids=NAMES)
@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=["nan", "inf"])
def test_instance_that_is_not_finite(case: Case, value: float) -> None:
    data = case.data(42, (SIZE,), shared=())
    broken = next(n for n in case.draws if n not in case.shared)
    good = without(case, data)
    data[broken].view(SIZE, -1)[BAD, 0] = value
    layer = case.layer()
    with pytest.raises(dl.SolveError, match=rf"(?s)instance {BAD}: .*`{broken}` is not finite in instance {BAD}"):
        layer(**data)
    status = layer.solve(**data).status
    assert dl.Status(int(status[BAD])) is dl.Status.NOT_FINITE
    assert int((status == 0).sum()) == SIZE - 1
    layer.on_failure = "nan"
    assert_others_are_exact(case, layer, data, good)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_shared_parameter_that_is_not_finite(case: Case) -> None:
    """Every instance fails, none is returned, and no gradient is."""
    data = case.data(43, (3,))
    broken = next(iter(case.draws))
    data[broken] = torch.full_like(data[broken][0], torch.nan)
    layer = case.layer(on_failure="nan")
    leaves = {n: v.requires_grad_() for n, v in data.items()}
    found = case.named(layer(**leaves))
    sum(torch.nan_to_num(v).sum() for v in found.values()).backward()  # type: ignore[union-attr]
    assert all(bool(v.isnan().all()) for v in found.values())
    assert all(v.grad is None or bool((v.grad == 0).all()) for v in leaves.values())
    layer.on_failure = "raise"
    with pytest.raises(dl.SolveError, match=f"`{broken}` is not finite"):
        layer(**data)


@pytest.mark.parametrize("name", ["optnet_qp", "budget_softmax"])
def test_every_instance_infeasible(name: str) -> None:
    case, data = infeasible(name)
    one = {n: v[BAD] if v.dim() > case.ranks()[n] else v for n, v in data.items()}
    layer = case.layer()
    with pytest.raises(dl.SolveError, match=r"(?s)the problem was not solved.*infeasible"):
        layer(**one)
    layer.on_failure = "nan"
    leaves = {n: v.clone().requires_grad_() for n, v in one.items()}
    found = case.named(layer(**leaves))
    sum(torch.nan_to_num(v).sum() for v in found.values()).backward()  # type: ignore[union-attr]
    assert all(bool(v.isnan().all()) for v in found.values())
    assert all(v.grad is None or bool((v.grad == 0).all()) for v in leaves.values())


def test_a_policy_that_does_not_exist() -> None:
    layer = BY_NAME["softmax"].layer()
    with pytest.raises(dl.InputError, match="on_failure is 'ignore'; expected 'raise' or 'nan'"):
        layer.on_failure = "ignore"


@pytest.mark.parametrize("objective", ["rho * sum_squares(y - x)", "rho * (y @ y) - 2 * rho * (x @ y)"])
def test_a_parameter_that_cancels_out_of_the_answer_is_looked_at(objective: str) -> None:
    layer = dl.compile(
        f"layer s\ndim n\nparam x[n]\nparam rho nonneg\nvar y[n] nonneg\nminimize {objective}\n"
        "subject to\n  one: sum(y) == 1\n"
    )()
    x, rho = torch.randn(3, 4, dtype=torch.float64), torch.tensor([1.0, torch.nan, 2.0], dtype=torch.float64)
    with pytest.raises(dl.SolveError, match="instance 1: not_finite"):
        layer(x, rho)
    layer.on_failure = "nan"
    y = layer(x, rho)
    assert bool(y[1].isnan().all())
    assert torch.equal(y[[0, 2]], layer(x[[0, 2]], rho[[0, 2]]))
