"""Meta-gradients against differences, a long unroll, an inverse, and the network written out in the language."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn

import declarative as dl
from examples.maml import inner_steps, learning
from examples.maml.inner_steps import WAYS, cost, meta_gradient
from examples.maml.learning import adaptation, adapted, learn, query_errors
from examples.maml.network import OfWeights, sine_network
from examples.maml.tasks import Tasks, draw_tasks

HIDDEN = 4


@pytest.fixture
def start() -> tuple[dl.Layer, Tasks, Tensor]:
    """A layer, three tasks, and shared weights (1, p)."""
    torch.manual_seed(0)
    network = sine_network(HIDDEN).double()
    tasks = draw_tasks(3, generator=torch.Generator().manual_seed(0))
    return adaptation(network), tasks, network.initial.double()[None]


def query_loss(layer: dl.Layer, w: Tensor, tasks: Tasks) -> Tensor:
    return query_errors(layer, w, tasks).sum()


def imaml(layer: dl.Layer, tasks: Tasks, shared: Tensor) -> Tensor:
    layer.solver, layer.adjoint, layer.gradient, layer.tolerance = "newton_cg", "cg", "implicit", None
    w: Tensor = layer(tasks.x, tasks.y, shared, torch.tensor(learning.RHO, dtype=torch.float64))
    return w


def test_meta_gradient_is_that_of_central_differences(start: tuple[dl.Layer, Tasks, Tensor]) -> None:
    layer, tasks, shared = start
    shared.requires_grad_()
    (exact,) = torch.autograd.grad(query_loss(layer, imaml(layer, tasks, shared), tasks), shared)
    step = 1e-5 * torch.eye(shared.shape[-1], dtype=torch.float64)[:, None]  # every weight moved, as one batch
    with torch.no_grad():
        high, low = (query_errors(layer, imaml(layer, tasks, shared + side * step), tasks).sum(-1) for side in (1, -1))
    assert exact.abs().max() > 0.1
    torch.testing.assert_close(exact[0], (high - low) / 2e-5, atol=1e-5, rtol=0)


def test_meta_gradient_is_that_of_a_long_unroll(start: tuple[dl.Layer, Tasks, Tensor]) -> None:
    """Descent in plain torch on the objective as the paper has it, to the same minimum."""
    layer, tasks, shared = start
    shared.requires_grad_()
    w = shared.expand(3, -1)
    for _ in range(1200):
        loss = (layer.network(w, tasks.x) - tasks.y).square().mean(-1).sum() / 2
        loss = loss + learning.RHO / 2 * (w - shared).square().sum()
        (slope,) = torch.autograd.grad(loss, w, create_graph=True)
        w = w - 0.1 * slope
    solution = imaml(layer, tasks, shared)
    torch.testing.assert_close(solution, w, atol=1e-8, rtol=0)
    unrolled, exact = (torch.autograd.grad(query_loss(layer, end, tasks), shared)[0] for end in (w, solution))
    torch.testing.assert_close(exact, unrolled, atol=1e-6, rtol=0)


def test_derivative_of_the_solution_is_the_one_of_the_paper(start: tuple[dl.Layer, Tasks, Tensor]) -> None:
    """dw/dv = rho (H + rho I)⁻¹ with the Hessian H of the task's loss."""
    layer, tasks, shared = start
    shared.requires_grad_()
    w = imaml(layer, tasks, shared)
    for task in range(3):
        x, y = tasks.x[task], tasks.y[task]
        H = torch.func.hessian(lambda w, x=x, y=y: (layer.network(w, x) - y).square().mean() / 2)(w[task].detach())
        expected = learning.RHO * torch.linalg.inv(H + learning.RHO * torch.eye(len(H), dtype=H.dtype))
        for i in (0, 7, len(H) - 1):
            (row,) = torch.autograd.grad(w[task, i], shared, retain_graph=True)
            torch.testing.assert_close(row[0], expected[i], atol=1e-8, rtol=0)


def test_the_network_can_be_written_in_the_language(start: tuple[dl.Layer, Tasks, Tensor]) -> None:
    """The same meta-gradient from a program in which the network is spelled, with its weights as variables."""
    layer, tasks, shared = start
    program = """layer adapt
dim k, h
param x[k]
param y[k]
param V1[h, 2]
param V2[h, h + 1]
param v3[h + 1]
param rho nonneg
var W1[h, 2] from V1
var W2[h, h + 1] from V2
var w3[h + 1] from v3

let one    = 0 * x + 1
let first  = tanh(W1 @ vstack(x, one))
let second = tanh(W2 @ vstack(first, one))
let fit    = vstack(second, one)' @ w3

let away   = sum_squares(W1 - V1) + sum_squares(W2 - V2) + sum_squares(w3 - v3)

minimize locally 1/2 * mean(square(fit - y)) + rho/2 * away
output fit, W1
"""
    h = HIDDEN
    W1, b1, W2, b2, w3, b3 = shared[0].split([h, h, h * h, h, h, 1])
    given = [torch.stack([W1, b1], -1), torch.cat([W2.view(h, h), b2[:, None]], -1), torch.cat([w3, b3])]
    spelled = dl.compile(program)()
    spelled.solver, spelled.adjoint = "newton_cg", "cg"
    rho = torch.tensor(learning.RHO, dtype=torch.float64)
    given = [g.detach().requires_grad_() for g in given]
    ours = torch.autograd.grad(spelled(tasks.x, tasks.y, *given, rho).fit.square().sum(), given)
    shared.requires_grad_()
    fit = layer.network(imaml(layer, tasks, shared), tasks.x)
    (theirs,) = torch.autograd.grad(fit.square().sum(), shared)
    flat = [ours[0][:, 0], ours[0][:, 1], ours[1][:, :h].flatten(), ours[1][:, h], ours[2]]
    torch.testing.assert_close(torch.cat(flat), theirs[0], atol=1e-7, rtol=0)


def test_a_known_network_is_the_module() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    x = torch.randn(2, 5, dtype=torch.float64)
    expected = module(x[..., None])[..., 0]
    network = OfWeights(module)
    weights = network.initial.expand(2, -1).clone()
    torch.testing.assert_close(network(weights, x), expected, rtol=0, atol=1e-15)
    weights[1, -1] += 1  # the last bias, of the second task alone
    torch.testing.assert_close(network(weights, x), expected + torch.tensor([[0.0], [1.0]]), rtol=0, atol=1e-15)
    assert not list(network.parameters())


def test_maml_goes_through_its_steps_and_the_first_order_form_does_not(start: tuple[dl.Layer, Tasks, Tensor]) -> None:
    layer, tasks, shared = start
    shared.requires_grad_()
    w = shared.expand(3, -1)
    for _ in range(learning.STEPS):
        loss = (layer.network(w, tasks.x) - tasks.y).square().mean(-1).sum() / 2
        (slope,) = torch.autograd.grad(loss, w, create_graph=True)
        w = w - learning.STEP_SIZE * slope
    (expected,) = torch.autograd.grad(query_loss(layer, w, tasks), shared, retain_graph=True)
    (at_the_end,) = torch.autograd.grad(query_loss(layer, w, tasks), w)
    ours = {method: adapted(layer, method, tasks, shared) for method in ("MAML", "FOMAML")}
    for method, gradient in (("MAML", expected), ("FOMAML", at_the_end.sum(0, keepdim=True))):
        torch.testing.assert_close(ours[method], w, atol=1e-12, rtol=0)
        (found,) = torch.autograd.grad(query_loss(layer, ours[method], tasks), shared)
        torch.testing.assert_close(found, gradient, atol=1e-10, rtol=0)


def test_more_inner_steps_come_closer(start: tuple[dl.Layer, Tasks, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, tasks, shared = start
    monkeypatch.setattr(inner_steps, "STEP_SIZE", 0.1)
    exact = meta_gradient(layer, tasks, shared)
    costs = {way: [cost(layer, tasks, shared, way, k, exact) for k in (30, 150)] for way in WAYS}
    for way in ("unrolled", "implicit"):
        assert costs[way][1].error < costs[way][0].error / 3
    assert costs["implicit"][1].memory == costs["implicit"][0].memory
    assert costs["unrolled"][1].memory > 3 * costs["unrolled"][0].memory
    assert costs["first order"][1].error > 0.1


def test_a_task_without_solution_counts_for_nothing(start: tuple[dl.Layer, Tasks, Tensor]) -> None:
    layer, tasks, shared = start
    y = tasks.y.clone()
    y[1] = torch.nan
    shared.requires_grad_()
    w = adapted(layer, "iMAML", replace(tasks, y=y), shared)
    assert w.isnan().any(-1).tolist() == [False, True, False]
    errors = query_errors(layer, w, tasks)
    (found,) = torch.autograd.grad(torch.where(errors.isfinite(), errors, 0).sum(), shared)
    others = torch.tensor([0, 2])
    rest = Tasks(*(getattr(tasks, f.name)[others] for f in fields(Tasks)))
    w = adapted(layer, "iMAML", rest, shared)
    (expected,) = torch.autograd.grad(query_loss(layer, w, rest), shared)
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_learning_lowers_the_error() -> None:
    torch.manual_seed(0)
    network = sine_network(6)
    layer = adaptation(network)
    initial = network.initial.double()[None, None]
    found = learn(layer, "iMAML", initial, 12, tasks=4, rate=0.03)
    assert torch.stack(found.errors[-4:]).mean() < 0.8 * torch.stack(found.errors[:4]).mean()
    assert found.skipped == 0
