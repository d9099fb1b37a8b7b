"""A layer is a module like any other: copied, stored, moved, shared, hooked, and called wherever torch calls one."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset

import declarative as dl
from declarative.runtime import externs
from tests.conformance.cases import CASES, Data
from tests.structures import closed_forms

Computed = tuple[list[Tensor], list[Tensor | None]]
"""Outputs, and gradients in the arguments of the call and in the layer's parameters."""


@dataclass(frozen=True)
class Sample:
    """A layer in float64 and data for it. ``kind``: its class, compiled anew at every call."""

    name: str
    layer: Callable[[], dl.Layer]
    kind: Callable[[], type[dl.Layer]]
    keywords: Callable[[], dict[str, Any]]
    data: Callable[..., Data]

    def __str__(self) -> str:
        return self.name


def of_program(case: Any) -> Sample:
    return Sample(case.name, case.layer, lambda: dl.compile(case.path), case.keywords, case.data)


def of_closed_form(name: str) -> Sample:
    case = closed_forms.CASES[name]
    return Sample(name, case.layer, lambda: dl.compile(case.program()), dict, case.data)


ROWS = ("uneven caps", "masked and capped", "water filling", "weighted l1")
SAMPLES = [
    *map(of_program, CASES),
    *(of_closed_form(name) for name in closed_forms.CASES if name.split(", ")[-1] in ROWS),
]
each = pytest.mark.parametrize("sample", SAMPLES, ids=str)


def flat(returned: Any) -> list[Tensor]:
    return [returned] if isinstance(returned, Tensor) else list(returned)


def computed(layer: Any, data: Data, parameters: list[nn.Parameter] | None = None) -> Computed:
    leaves = {name: value.detach().clone().requires_grad_() for name, value in data.items()}
    outputs = flat(layer(**leaves))
    owned = list(layer.parameters()) if parameters is None else parameters
    total = sum((o * o).sum() for o in outputs)
    return outputs, list(torch.autograd.grad(total, [*leaves.values(), *owned], allow_unused=True))


def assert_equal(found: Computed, expected: Computed, **close: float) -> None:
    """The same outputs and gradients: to the last bit, or as close as is said."""
    for ours, theirs in zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours, theirs, **(close or {"rtol": 0.0, "atol": 0.0}))


def test_the_samples_are_of_every_kind() -> None:
    """Closed forms with and without kernels, quadratic and cone programs, local problems and roots, with externs."""
    assert len(SAMPLES) == len(CASES) + len(ROWS)
    assert any(layer.externs for layer in (sample.layer() for sample in SAMPLES))


# Copies


@each
def test_copies_are_independent(sample: Sample) -> None:
    layer, data = sample.layer(), sample.data(1, (2,))
    expected = computed(layer, data)
    copies = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), copy.deepcopy(copy.deepcopy(layer))]
    for other in copies:
        assert type(other) is type(layer)
        assert_equal(computed(other, data), expected)
    for parameter in copies[0].parameters():
        torch.nn.init.constant_(parameter, 0.75)
    assert_equal(computed(layer, data), expected)


@each
def test_states_pass_between_classes_compiled_at_different_times(sample: Sample) -> None:
    layer, data = sample.layer(), sample.data(2, (2,))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(0.5)
    other = sample.kind()(**sample.keywords()).double()
    assert other.load_state_dict(layer.state_dict(), strict=True) == nn.modules.module._IncompatibleKeys([], [])
    assert_equal(computed(other, data), computed(layer, data))
    wrong = {**layer.state_dict(), "nothing": torch.zeros(1)}
    with pytest.raises(RuntimeError, match="nothing"):
        other.load_state_dict(wrong, strict=True)


@each
def test_the_dtype_is_the_datas(sample: Sample) -> None:
    layer, data = sample.layer(), sample.data(3, (2,))
    expected = computed(layer, data)
    for single in (
        copy.deepcopy(layer).float(),
        copy.deepcopy(layer).to(torch.float32),
        copy.deepcopy(layer).to("cpu", torch.float32),
    ):
        outputs, gradients = computed(single, {name: value.float() for name, value in data.items()})
        assert {t.dtype for t in (*outputs, *(g for g in gradients if g is not None))} == {torch.float32}
        for ours, theirs in zip(outputs, expected[0], strict=True):
            torch.testing.assert_close(ours.double(), theirs, rtol=5e-3, atol=5e-3)
    assert_equal(computed(copy.deepcopy(layer).float().double(), data), expected, rtol=1e-4, atol=1e-4)


@each
def test_shared_memory(sample: Sample) -> None:
    layer, data = sample.layer(), sample.data(4, (2,))
    expected = computed(layer, data)
    assert layer.share_memory() is layer
    assert all(p.is_shared() for p in layer.parameters())
    assert_equal(computed(layer, data), expected)


# Processes and threads


@each
def test_one_layer_and_copies_of_it_in_several_threads(sample: Sample) -> None:
    """As in nn.DataParallel: every thread runs forward and backward, none sees the others."""
    layer = sample.layer()
    copies = [copy.deepcopy(layer) for _ in range(2)]
    batches = [sample.data(seed, (1 + seed % 3,)) for seed in range(6)]
    expected = [computed(sample.layer(), batch) for batch in batches]
    owned = {id(each): list(each.parameters()) for each in (layer, *copies)}

    def run(each: dl.Layer, i: int) -> Computed:
        return computed(each, batches[i % 6], owned[id(each)])

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda i: run(layer, i), range(12)))
        apart = list(pool.map(lambda i: run(copies[i % 2], i), range(12)))
    for i in range(12):
        assert_equal(found[i], expected[i % 6])
        assert_equal(apart[i], expected[i % 6])


class Solutions(Dataset[list[Tensor]]):
    """What each of some layers returns and its gradients, computed where the item is asked for."""

    def __init__(self, layers: list[dl.Layer], data: list[Data]) -> None:
        self.layers, self.data = layers, data

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> list[Tensor]:
        outputs, gradients = computed(self.layers[index], self.data[index])
        return [o.detach() for o in outputs] + [g for g in gradients if g is not None]


def test_workers_forked_after_the_layers_have_been_used() -> None:
    """Threads of the compiled kernels do not live on in a child, which starts its own."""
    items = Solutions([sample.layer() for sample in SAMPLES], [sample.data(5, (40,)) for sample in SAMPLES])
    before, threads = [items[i] for i in range(len(items))], torch.get_num_threads()
    loader = DataLoader(items, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=600)
    for found, expected, sample in zip(loader, before, SAMPLES, strict=True):
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10, msg=sample.name)
    assert torch.get_num_threads() == threads
    for i in (0, 1, 2):
        for ours, theirs in zip(items[i], before[i], strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_forked_while_a_thread_is_in_an_extern() -> None:
    """The thread is not in the child, which must not wait for it."""
    sample = next(s for s in SAMPLES if s.name == "savi")
    layer, data = sample.layer(), sample.data(5, (2,))
    expected = computed(layer, data)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with externs._turn.lock:
            held.set()
            done.wait(600)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(600)
    child = multiprocessing.get_context("fork").Process(target=assert_solves, args=(layer, data, expected))
    child.start()
    child.join(600)
    done.set()
    thread.join()
    assert child.exitcode == 0


def assert_solves(layer: dl.Layer, data: Data, expected: Computed) -> None:
    torch.set_num_threads(1)
    assert_equal(computed(layer, data), expected)


# Modes of torch


@each
def test_inference_mode_first_and_training_after(sample: Sample) -> None:
    """What a layer keeps from a first call is not tied to the mode of that call."""
    layer, data = sample.kind()(**sample.keywords()).double(), sample.data(6, (2,))
    with torch.inference_mode():
        outputs = flat(layer(**data))
        assert all(o.is_inference() for o in outputs)
        assert bool(layer.solve(**data).solved.all())
    found = computed(layer, data)
    for ours, theirs in zip(found[0], outputs, strict=True):
        torch.testing.assert_close(ours, theirs.clone(), rtol=1e-9, atol=1e-10)
    assert_equal(found, computed(sample.layer(), data), rtol=1e-9, atol=1e-10)


@each
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(sample: Sample, reentrant: bool) -> None:
    layer, data = sample.layer(), sample.data(7, (2,))

    def again(**leaves: Tensor) -> Any:
        return checkpoint(lambda *values: tuple(flat(layer(*values))), *leaves.values(), use_reentrant=reentrant)

    expected = computed(layer, data, [])
    if not reentrant:
        assert_equal(computed(again, data, []), expected)
        return
    leaves = [value.clone().requires_grad_() for value in data.values()]  # this way refuses torch.autograd.grad
    sum((o * o).sum() for o in again(**dict(zip(data, leaves, strict=True)))).backward()
    assert_equal(([], [leaf.grad for leaf in leaves]), ([], expected[1]))


@pytest.mark.parametrize("name", ["savi", "circle"])
def test_checkpointing_of_unrolled_iterations(name: str) -> None:
    sample = next(s for s in SAMPLES if s.name == name)
    layer, data = sample.layer(), sample.data(7, (2,))
    layer.gradient = "unrolled"

    def again(**leaves: Tensor) -> Any:
        return checkpoint(lambda *values: tuple(flat(layer(*values))), *leaves.values(), use_reentrant=False)

    assert_equal(computed(again, data, []), computed(layer, data, []))


@each
def test_a_pass_while_saved_tensors_go_elsewhere(sample: Sample) -> None:
    """What is saved is packed and unpacked as for any module; forward and backward run within."""
    layer, data = sample.layer(), sample.data(7, (2,))
    expected, packed = computed(layer, data), []

    def pack(tensor: Tensor) -> Tensor:
        packed.append(tensor.shape)
        return tensor.clone()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        assert_equal(computed(layer, data), expected)
        before = len(packed)
        (torch.ones(2, requires_grad=True) ** 2).sum()
    assert before > 0
    assert len(packed) > before  # the hooks are there again


@each
def test_anomaly_mode(sample: Sample) -> None:
    """No step of a backward pass makes a NaN that a later one covers."""
    layer, data = sample.layer(), sample.data(8, (3,))
    expected = computed(layer, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is slow
        with torch.autograd.detect_anomaly():
            assert_equal(computed(layer, data), expected)


@each
def test_hooks_see_what_passes(sample: Sample) -> None:
    layer, data = sample.layer(), sample.data(9, (2,))
    expected = computed(layer, data)
    seen: list[str] = []
    handles = [
        layer.register_forward_pre_hook(lambda module, args: seen.append("before")),
        layer.register_forward_hook(lambda module, args, output: seen.append(f"after, {len(flat(output))} outputs")),
        layer.register_full_backward_hook(lambda module, into, out: seen.append(f"backward, {len(out)} outputs")),
    ]
    outputs, gradients = computed(lambda **leaves: layer(*leaves.values()), data, list(layer.parameters()))
    # With such a hook torch gives zeros in place of None.
    given = [None if theirs is None else ours for ours, theirs in zip(gradients, expected[1], strict=True)]
    assert_equal((outputs, given), expected)
    count = len(expected[0])
    assert seen == ["before", f"after, {count} outputs", f"backward, {count} outputs"]
    for handle in handles:
        handle.remove()


@each
def test_parameters_given_from_outside(sample: Sample) -> None:
    layer, data = sample.layer(), sample.data(10, (2,))
    other = {name: value.detach() * 0.5 for name, value in layer.named_parameters()}
    given = flat(torch.func.functional_call(layer, other, (), data))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(0.5)
    for ours, theirs in zip(given, flat(layer(**data)), strict=True):
        assert torch.equal(ours, theirs)


# Precision


@each
def test_autocast_does_not_lower_a_solution(sample: Sample) -> None:
    layer = sample.layer().float()
    data = {name: value.float() for name, value in sample.data(11, (3,)).items()}
    expected = computed(layer, data)
    with torch.autocast("cpu", torch.bfloat16):
        found = computed_within(layer, data)
        solution = layer.solve(**data)
        assert torch.is_autocast_enabled("cpu")
    assert_equal((found[0], []), (expected[0], []))
    for ours, theirs in zip(flat(solution.outputs), expected[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    total = sum((o * o).sum() for o in found[0])
    gradients = list(torch.autograd.grad(total, [*found[1].values(), *layer.parameters()], allow_unused=True))
    assert_equal(([], gradients), ([], expected[1]))


def computed_within(layer: dl.Layer, data: Data) -> tuple[list[Tensor], Data]:
    leaves = {name: value.clone().requires_grad_() for name, value in data.items()}
    return flat(layer(**leaves)), leaves


@pytest.fixture
def compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("whole", [False, True], ids=["eager", "compiled"])
def test_autocast_around_a_model_with_a_layer(whole: bool) -> None:
    """Activations come in half precision, learned parameters and other arguments in float32."""
    kind = dl.compile(
        dl.parse_program(
            "layer inner\ndim n, m\nparam x[n]\nparam A[m, n]\nparam rho nonneg learned\nvar y[n]\n"
            "minimize sum_squares(A @ y - A @ x) + rho * sum_squares(y)\nsubject to\n  sum(y) == 1\noutput y\n"
        )
    )

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.before, self.inner, self.after = nn.Linear(5, 4), kind(rho=0.5), nn.Linear(4, 2)

        def forward(self, x: Tensor, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            scores = self.before(x)
            y = self.inner(scores, A)
            return scores, y, self.after(y)

    model, generator = Model(), torch.Generator().manual_seed(1)
    run = torch.compile(model, fullgraph=True, backend="aot_eager") if whole else model
    x, A = torch.randn(6, 5, generator=generator), torch.randn(3, 4, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        scores, y, result = run(x, A)
    assert (scores.dtype, y.dtype, result.dtype) == (torch.bfloat16, torch.float32, torch.bfloat16)
    torch.testing.assert_close(y, model.inner(scores.float(), A), rtol=1e-5, atol=1e-5)
    result.float().square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    rho = next(model.inner.parameters())
    expected = torch.autograd.grad((model.after(model.inner(scores.detach().float(), A)).square().sum()), rho)[0]
    torch.testing.assert_close(rho.grad, expected, rtol=0.05, atol=1e-3)


def test_a_backward_pass_within_autocast_is_not_lowered_either() -> None:
    """The adjoint system of a local problem has products with the decoder's weights in it."""
    sample = next(s for s in SAMPLES if s.name == "savi")
    layer = sample.layer().float()
    data = {name: value.float() for name, value in sample.data(12, (3,)).items()}
    expected = computed(layer, data)
    with torch.autocast("cpu", torch.bfloat16):
        assert_equal(computed(layer, data), expected)
