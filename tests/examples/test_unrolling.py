"""Unrolling: gradients against closed forms and loops written by hand, and bytes against the profiler's own account."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from examples.unrolling import problems
from examples.unrolling.cost import METHODS, Case, forward, gradients, measure
from examples.unrolling.memory import Peak, resident


@pytest.fixture(params=["ridge", "softmax"])
def case(request: pytest.FixtureRequest) -> tuple[str, Case]:
    small = {"ridge": problems.ridge(batch=3, m=8, n=4), "softmax": problems.softmax(batch=3, n=4)}
    return request.param, small[request.param]


def closed_form(name: str, *tensors: Tensor) -> Tensor:
    if name == "ridge":
        A, b, rho = tensors
        ridged = [a.mT @ a + rho * torch.eye(a.shape[1], dtype=a.dtype) for a in A]
        return torch.stack([torch.linalg.solve(R, a.mT @ y) for R, a, y in zip(ridged, A, b, strict=True)])
    score, tau = tensors
    logits = torch.cat([score, torch.zeros_like(score[:, :1])], -1) / tau[:, None]
    return torch.softmax(logits, -1)[:, :-1]


def by_hand(name: str, steps: int, step_size: float, *tensors: Tensor) -> Tensor:
    """Descent with the slope written out; of the softmax with J = dp/dz, slope = J (tau z - score)."""
    if name == "ridge":
        A, b, rho = tensors
        x = torch.zeros_like(A[:, 0])
        for _ in range(steps):
            left = torch.einsum("bmn,bn->bm", A, x) - b
            x = x - step_size * (torch.einsum("bmn,bm->bn", A, left) + rho * x)
        return x
    score, tau = tensors
    z = torch.zeros_like(score)
    for _ in range(steps):
        p = z.exp() / (1 + z.exp().sum(-1, keepdim=True))
        pull = tau[:, None] * z - score
        z = z - step_size * p * (pull - (p * pull).sum(-1, keepdim=True))
    return z.exp() / (1 + z.exp().sum(-1, keepdim=True))


def differentiated(case: Case, solution: object) -> list[Tensor]:
    tensors = [t.detach().requires_grad_() for t in case.tensors]
    return list(torch.autograd.grad((solution(*tensors) * case.direction).sum(), tensors))  # type: ignore[operator]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def test_implicit_gradient_is_that_of_the_closed_form(case: tuple[str, Case]) -> None:
    name, problem = case
    assert_close(gradients(problem, "implicit"), differentiated(problem, lambda *t: closed_form(name, *t)), 1e-8)
    assert_close(gradients(problem, "implicit", 3000), gradients(problem, "implicit"), 1e-7)


@pytest.mark.parametrize("method", ["unrolled", "checkpointed"])
@pytest.mark.parametrize("steps", [1, 11])
def test_unrolled_gradient_is_that_of_the_loop(case: tuple[str, Case], method: str, steps: int) -> None:
    name, problem = case
    loop = differentiated(problem, lambda *t: by_hand(name, steps, problem.step_size, *t) + 0 * sum(s.sum() for s in t))
    assert_close(gradients(problem, method, steps), loop, 1e-11)


def test_errors_fall_as_they_should(case: tuple[str, Case]) -> None:
    _, problem = case
    exact = gradients(problem, "implicit")
    costs = {method: [measure(problem, method, k, exact) for k in (12, 60)] for method in METHODS}
    for method in ("unrolled", "checkpointed", "implicit"):
        assert costs[method][1].error < costs[method][0].error
    assert costs["implicit"][1].error < costs["unrolled"][1].error
    assert costs["truncated"][1].error > 3 * costs["unrolled"][1].error


def test_memory_grows_as_it_should(case: tuple[str, Case]) -> None:
    _, problem = case
    held = {method: [peak(problem, method, k) for k in (25, 100)] for method in METHODS}
    assert 3.5 < held["unrolled"][1] / held["unrolled"][0] < 4.1
    assert 1.5 < held["checkpointed"][1] / held["checkpointed"][0] < 2.1  # the root of four
    assert held["truncated"][1] == held["truncated"][0]
    assert held["implicit"][1] == held["implicit"][0]


def peak(case: Case, method: str, steps: int) -> int:
    with Peak() as counted:
        gradients(case, method, steps)
    return counted.bytes


def test_bytes_are_those_of_the_profiler() -> None:
    case = problems.ridge(batch=4, m=60, n=40)
    for method in METHODS:
        gradients(case, method, 30)  # whatever is made once and kept
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            gradients(case, method, 30)
        now = most = 0
        for event in profile.profiler.kineto_results.events():
            if event.name() == "[memory]":
                now += event.nbytes()
                most = max(most, now)
        assert peak(case, method, 30) == pytest.approx(most, rel=0.1), method


def test_peak_counts_what_is_alive_at_once() -> None:
    x = torch.zeros(1000, dtype=torch.float64)
    with Peak() as counted:
        kept = x + 1  # 8000 bytes
        for _ in range(5):
            other = kept * 2  # 8000 more, and once again until the old ones are let go
        assert counted.now == 16000
        view = kept[:10]
    assert counted.bytes == 24000
    assert view.numel() == 10
    assert other.numel() == 1000
    with Peak() as counted:
        x.add_(1)
    assert counted.bytes == 0


def test_resident_set_rises_by_what_is_held() -> None:
    assert resident(torch.ones, 2**24) == pytest.approx(128, rel=0.05)


def test_arguments_all_receive_a_gradient() -> None:
    for make in problems.CASES.values():
        case = make(2)
        loss, arguments = forward(case, "implicit", None)
        assert loss.requires_grad
        assert len(arguments) == len(case.tensors)
