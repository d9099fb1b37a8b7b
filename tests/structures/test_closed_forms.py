"""Closed forms against the cone program: solution, duals, derivatives of two orders, batches, precision, failure."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import declarative as dl
from declarative.structures import Match, canonicalise, recognise
from tests.structures.closed_forms import CASES, Case

each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def tensors(outputs: object) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)  # type: ignore[arg-type]


@each
def test_it_is_recognised(case: Case) -> None:
    answers = recognise(canonicalise(case.program()))
    assert next(m.structure for _, m in answers if isinstance(m, Match)) == case.structure


@each
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_solution_and_duals_are_the_cone_programs(case: Case, seed: int) -> None:
    data = case.data(seed)
    found, expected = case.layer().solve(**data), case.cone_layer().solve(**data)
    assert int(found.status) == int(expected.status) == 0
    for ours, theirs in zip(tensors(found.outputs), tensors(expected.outputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert set(found.duals) == set(expected.duals)
    for name, dual in found.duals.items():
        torch.testing.assert_close(dual, expected.duals[name], rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    assert float(found.residuals) < 1e-9


@each
def test_derivatives_of_two_orders(case: Case) -> None:
    layer = case.layer()
    inputs = tuple(v.requires_grad_() for v in case.data(4).values())

    def everything(*values: Tensor) -> Tensor:
        solution = layer.solve(*values)
        assert bool(solution.solved.all())
        return torch.cat([t.flatten() for t in (*tensors(solution.outputs), *solution.duals.values())])

    assert torch.autograd.gradcheck(everything, inputs, eps=1e-6, atol=1e-6, rtol=1e-5)
    if case.twice:
        assert torch.autograd.gradgradcheck(everything, inputs, eps=1e-6, atol=1e-5, rtol=1e-4)


@each
def test_a_batch_is_a_loop_and_what_it_shares_gets_sums(case: Case) -> None:
    layer, batch = case.layer(), case.data(5, (6,))
    shared = next(iter(reversed(batch)))
    batch[shared] = batch[shared][0].clone()
    leaves = {n: v.clone().requires_grad_() for n, v in batch.items()}
    found = layer.solve(**leaves)
    values = (*tensors(found.outputs), *found.duals.values())
    sum(v.square().sum() for v in values).backward()  # type: ignore[union-attr]
    total = torch.zeros_like(batch[shared])
    for i in range(6 if len(batch) > 1 else 0):
        one = {n: (v if n == shared else v[i]).clone().requires_grad_() for n, v in batch.items()}
        single = layer.solve(**one)
        alone = (*tensors(single.outputs), *single.duals.values())
        for whole, part in zip(values, alone, strict=True):
            torch.testing.assert_close(whole[i], part)
        sum(v.square().sum() for v in alone).backward()  # type: ignore[union-attr]
        for name, leaf in one.items():
            if name != shared:
                torch.testing.assert_close(leaves[name].grad[i], leaf.grad)
        total += one[shared].grad
    if len(batch) > 1:
        torch.testing.assert_close(leaves[shared].grad, total)


@each
def test_float32(case: Case) -> None:
    data = case.data(6, (4,))
    low = {n: v.float().requires_grad_() for n, v in data.items()}
    found, exact = case.layer().solve(**low), case.layer().solve(**data)
    for ours, theirs in zip(tensors(found.outputs), tensors(exact.outputs), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)
    sum(t.sum() for t in tensors(found.outputs)).backward()  # type: ignore[union-attr]
    for leaf in low.values():
        assert leaf.grad is None or (leaf.grad.dtype == torch.float32 and bool(leaf.grad.isfinite().all()))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.infeasible])
def test_infeasible_data_is_told_and_leaves_the_others_alone(name: str) -> None:
    case = CASES[name]
    layer, data = case.layer(), case.data(7, (3,))
    expected = layer.solve(**data)
    for name, value in case.infeasible.items():
        data[name][1] = torch.as_tensor(value, dtype=torch.float64)
    leaves = {n: v.clone().requires_grad_() for n, v in data.items()}
    solution = layer.solve(**leaves)
    assert [dl.Status(int(s)).label for s in solution.status] == ["solved", "infeasible", "solved"]
    for found, wanted in zip(tensors(solution.outputs), tensors(expected.outputs), strict=True):
        torch.testing.assert_close(found[[0, 2]], wanted[[0, 2]])
        assert bool(found[1].isnan().all())
    with pytest.raises(dl.SolveError, match="instance 1: infeasible"):
        layer(**leaves)
    layer.on_failure = "nan"
    sum(t.nan_to_num().sum() for t in tensors(layer(**leaves))).backward()  # type: ignore[union-attr]
    assert all(bool(v.grad.isfinite().all()) for v in leaves.values() if v.grad is not None)


@each
def test_any_size(case: Case) -> None:
    """The class names no size: a call with others solves the problem that it states."""
    layer = case.layer()
    data = case.data(8)
    if not any(v.dim() for v in data.values()):
        pytest.skip("scalars alone")
    longer = {n: torch.cat([v, v.flip(-1) * 0.7], -1) if v.dim() and v.shape[-1] == 5 else v for n, v in data.items()}
    assert float(layer.solve(**longer).residuals) < 1e-9
