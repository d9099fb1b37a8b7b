"""Semi-amortised inference on digits: the layer's gradient, what an encoder learns from, how costs are counted."""

from __future__ import annotations

import dataclasses
import math
import pickle
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

import declarative as dl
from examples.savi import __main__ as demo
from examples.savi import cost, experiments
from examples.savi.figure import LOOKS, draw
from examples.savi.model import (
    AMORTISED,
    DISTILLED,
    LATENTS,
    METHODS,
    PIXELS,
    PROGRAM,
    PROXIMAL,
    SVI,
    UNROLLED,
    Method,
    Posterior,
    Vae,
    divergence,
    draws,
)
from examples.savi.training import REFINED, Recipe, Verdict, active_units, bound, train

F64 = torch.float64
PAGE = Path(__file__).parents[2] / "docs" / "savi.md"
COUNT = 3


@pytest.fixture
def model() -> Vae:
    """A small model in float64, whose layer solves to 1e-12."""
    torch.manual_seed(3)
    small = Vae(hidden=10).double()
    small.savi.tolerance = 1e-12
    return small


@pytest.fixture
def data(model: Vae) -> list[Tensor]:
    """What the layer is called with: x, the proposal, the draws, gamma, rho."""
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(COUNT, PIXELS, dtype=F64, generator=generator)
    tensors = [x, *model.propose(x), draws(COUNT, generator, F64), torch.tensor(0.5), torch.tensor(PROXIMAL.rho)]
    return [t.detach().to(F64).requires_grad_() for t in tensors]


def scored(found: Posterior) -> Tensor:
    """A function of the posterior that is not what the layer minimises."""
    return (found.mu**3).sum() + (found.mu * found.logvar).sum() + found.logvar.cos().sum()


def test_the_gradient_is_that_of_central_differences(model: Vae, data: list[Tensor]) -> None:
    wanted = [*data, *model.savi.decode.parameters()]
    gradients = torch.autograd.grad(scored(model.savi(*data)), wanted)
    for tensor, gradient in zip(wanted, gradients, strict=True):
        direction = torch.cos(torch.arange(tensor.numel(), dtype=F64)).reshape(tensor.shape)
        values = []
        with torch.no_grad():
            for move in (1e-5, -2e-5):
                tensor += move * direction
                values.append(scored(model.savi(*data)))
            tensor += 1e-5 * direction
        difference = (values[0] - values[1]) / 2e-5
        assert abs((gradient * direction).sum() - difference) <= 1e-5 * abs(difference).clamp_min(1e-1)


def test_the_gradient_is_that_of_a_long_unroll(model: Vae, data: list[Tensor]) -> None:
    wanted = [*data, *model.savi.decode.parameters()]
    implicit = torch.autograd.grad(scored(model.savi(*data)), wanted)
    model.savi.solver = dl.GradientDescent(step_size=0.08, momentum=0.5, steps=150)
    model.savi.gradient = "unrolled"
    unrolled = torch.autograd.grad(scored(model.savi(*data)), wanted)
    for left, right in zip(unrolled, implicit, strict=True):
        assert (left - right).norm() <= 1e-6 * right.norm().clamp_min(1e-2)


def test_a_proposal_behind_the_start_alone_has_no_gradient(model: Vae, data: list[Tensor]) -> None:
    x, mu0, logvar0, noise, gamma, _ = data
    found = model.savi(x, mu0, logvar0, noise, gamma, torch.zeros((), dtype=F64))
    to_proposal = torch.autograd.grad(scored(found), (mu0, logvar0), retain_graph=True)
    assert max(float(g.abs().max()) for g in to_proposal) <= 1e-8
    (to_images,) = torch.autograd.grad(scored(found), x)
    assert to_images.abs().max() > 1e-2


def test_the_decoder_learns_as_if_the_solution_were_constant(model: Vae, data: list[Tensor]) -> None:
    weights = list(model.savi.decode.parameters())
    x, mu0, logvar0, noise, gamma, _ = (t.detach() for t in data)
    found = model.savi(x, mu0, logvar0, noise, gamma, torch.zeros((), dtype=F64))
    through = torch.autograd.grad(found.loss.sum(), weights)
    z = (found.mu[:, None] + (found.logvar / 2).exp()[:, None] * noise).detach()
    fixed = torch.autograd.grad((x[:, None] - model.savi.decode(z)).square().sum() / (2 * gamma * 2 * LATENTS), weights)
    for left, right in zip(through, fixed, strict=True):
        assert (left - right).abs().max() <= 1e-8


@pytest.mark.parametrize(
    ("method", "reaches"), [(AMORTISED, True), (SVI, False), (UNROLLED, True), (PROXIMAL, True), (DISTILLED, True)],
    ids=["amortised", "svi", "unrolled", "proximal", "distilled"],
)  # fmt: skip
def test_what_reaches_the_encoder(model: Vae, data: list[Tensor], method: Method, reaches: bool) -> None:
    _, loss = model.infer(data[0].detach(), data[3].detach(), 0.5, method)
    loss.mean().backward()
    largest = max(0.0 if w.grad is None else float(w.grad.abs().max()) for w in model.encode.parameters())
    assert largest > 1e-4 if reaches else largest <= 1e-8
    assert all(w.grad is not None and w.grad.any() for w in model.savi.decode.parameters())


def test_distillation_leaves_the_decoder_to_the_bound(model: Vae, data: list[Tensor]) -> None:
    weights = list(model.savi.decode.parameters())
    x, noise = data[0].detach(), data[3].detach()
    plain = dataclasses.replace(PROXIMAL, rho=0.0)
    distilled, bare = (torch.autograd.grad(model.infer(x, noise, 0.5, m)[1].sum(), weights) for m in (DISTILLED, plain))
    for left, right in zip(distilled, bare, strict=True):
        torch.testing.assert_close(left, right, atol=1e-8, rtol=0)


def test_a_method_leaves_the_layer_as_it_was(model: Vae, data: list[Tensor]) -> None:
    before, _ = model.infer(data[0].detach(), data[3].detach(), 0.5, PROXIMAL)
    model.infer(data[0].detach(), data[3].detach(), 0.5, UNROLLED)
    after, _ = model.infer(data[0].detach(), data[3].detach(), 0.5, PROXIMAL)
    assert torch.equal(before.mu, after.mu)
    assert (model.savi.solver, model.savi.gradient) == (None, "implicit")


class Linear(nn.Module):
    """x = W z + c: the posterior and its bound have closed forms."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.W = nn.Parameter(torch.randn(PIXELS, LATENTS, dtype=F64, generator=generator) / 8)
        self.c = nn.Parameter(torch.rand(PIXELS, dtype=F64, generator=generator))

    def forward(self, z: Tensor) -> Tensor:
        return z @ self.W.mT + self.c


def test_the_search_finds_the_best_gaussian_of_a_linear_decoder(model: Vae, data: list[Tensor]) -> None:
    model.savi.decode = decode = Linear()
    x, noise, gamma = data[0].detach(), data[3].detach(), 0.05
    found, loss = model.infer(x, noise, gamma, REFINED)
    precision = decode.W.mT @ decode.W / gamma + torch.eye(LATENTS, dtype=F64)
    mean = torch.linalg.solve(precision, ((x - decode.c) @ decode.W / gamma).mT).mT
    torch.testing.assert_close(found.mu, mean, atol=1e-8, rtol=0)
    torch.testing.assert_close(found.logvar.exp(), (1 / precision.diagonal()).expand_as(mean), atol=1e-8, rtol=0)
    spread = (found.logvar.exp() * decode.W.square().sum(0)).sum(-1)
    error = ((x - decode(found.mu)).square().sum(-1) + spread) / (2 * gamma)
    torch.testing.assert_close(loss, error + to_prior(found), atol=1e-8, rtol=0)


def to_prior(q: Posterior) -> Tensor:
    zero = torch.zeros_like(q.mu)
    return kl_divergence(gaussian(q), gaussian(Posterior(zero, zero)))


def gaussian(q: Posterior) -> Independent:
    return Independent(Normal(q.mu, (q.logvar / 2).exp()), 1)


def test_the_bound_is_that_of_a_linear_decoder(model: Vae) -> None:
    model.savi.decode = decode = Linear()
    gamma, x = 0.05, torch.rand(200, PIXELS, dtype=F64)
    q = Posterior(torch.randn(200, LATENTS, dtype=F64), torch.full((200, LATENTS), -4.0, dtype=F64))
    likelihood = Normal(decode(q.mu), gamma**0.5).log_prob(x).sum(-1)
    spread = (q.logvar.exp() * decode.W.square().sum(0)).sum(-1) / (2 * gamma)
    exact = (likelihood - spread - to_prior(q)).mean().item()
    with torch.no_grad():
        found = bound(model, x, q, gamma, torch.Generator().manual_seed(0), count=400)
    assert abs(found - exact) < 0.05  # the standard error is 0.01


def test_the_divergence_is_that_of_torch() -> None:
    of, to = (Posterior(*torch.randn(2, 7, LATENTS, dtype=F64)) for _ in range(2))
    torch.testing.assert_close(divergence(of, to), kl_divergence(gaussian(of), gaussian(to)))


def test_draws_have_the_moments_of_the_normal() -> None:
    noise = draws(5, torch.Generator().manual_seed(0), F64)
    torch.testing.assert_close(noise.mean(1), torch.zeros(5, LATENTS, dtype=F64), atol=1e-12, rtol=0)
    second = noise.mT @ noise / (2 * LATENTS)
    torch.testing.assert_close(second, torch.eye(LATENTS, dtype=F64).expand_as(second), atol=1e-12, rtol=0)
    assert (noise[0] - noise[1]).abs().max() > 0.1


def test_active_units_are_those_that_images_move() -> None:
    mu = torch.zeros(50, LATENTS)
    mu[:, 0] = torch.linspace(-1, 1, 50)
    mu[:, 1] = 0.05 * mu[:, 0]
    mu[:, 2] = 3.0
    assert active_units(Posterior(mu, torch.zeros_like(mu))) == 1


def test_memory_counts_what_is_alive() -> None:
    given = torch.ones(1000)
    with cost.Held() as held:
        kept = given * 2
        view = kept[:10]
        (kept + 1).sum()
        other = kept * 3
    assert held.peak == 2 * 4000 + 4
    assert held.now == 2 * 4000
    assert view.untyped_storage()._cdata == kept.untyped_storage()._cdata != other.untyped_storage()._cdata


def test_implicit_memory_is_flat_and_unrolled_memory_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "ROUNDS", 1)
    torch.manual_seed(0)
    costs = cost.measure(Vae(), torch.rand(8, PIXELS), draws(8, torch.Generator().manual_seed(0)), 0.02, (5, 10, 15))
    implicit, unrolled = ([c.memory for c in each] for each in (costs.implicit, costs.unrolled))
    assert max(implicit) <= 1.01 * min(implicit)
    assert math.isclose(unrolled[1] - unrolled[0], unrolled[2] - unrolled[1], rel_tol=0.05)
    assert unrolled[2] - unrolled[1] > 2**-20 * 5 * 8 * 2 * LATENTS * PIXELS * 4  # more than the decoder's results


def test_training_by_the_layer_lowers_the_loss() -> None:
    torch.manual_seed(0)
    images = experiments.load().train.images[:60].flatten(1)
    losses = list(train(Vae(), images, 0.1, PROXIMAL, Recipe(epochs=6, rate=1e-2, batch=30), seed=0))
    assert losses[-1] < 0.7 * losses[0]


def test_runs_are_planned_once() -> None:
    for plan in (experiments.SHORT, experiments.FULL):
        runs = plan.runs()
        assert len(set(runs)) == len(runs)
        wanted = [*plan.table(UNROLLED), *plan.unrolls().values(), *plan.sweep(PROXIMAL).values()]
        assert set(wanted) <= set(runs)
    assert len(experiments.FULL.table(PROXIMAL)) == 5
    longer, plain = (pickle.loads(pickle.dumps(experiments.SHORT.table(m)[0])) for m in (experiments.LONG, AMORTISED))
    assert longer.recipe.epochs == experiments.LONGER * plain.recipe.epochs
    assert {method.name for method in METHODS} <= set(LOOKS)


def test_the_page_shows_the_program() -> None:
    shown = re.search(r"^```opt\n# savi\.opt\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert shown[1] == PROGRAM.read_text(encoding="utf-8")


def test_tables() -> None:
    runs = {
        AMORTISED.name: [Verdict(1.0, 1.0, 2.0, 6, 0.5), Verdict(3.0, 3.0, 4.0, 6, 1.5)],
        SVI.name: [Verdict(math.nan, 2.0, 2.0, 5, 1.0), Verdict(math.nan, 6.0, 6.0, 6, 1.0)],
    }
    first, second = demo.results(runs)
    assert first[:5] == (AMORTISED.name, "2.00 ± 1.41", "2.00 ± 1.41", "0.00 ± 0.00", "3.00 ± 1.41")
    assert first[5:] == ("6.0", "1.0")
    assert second[:4] == (SVI.name, "-", "4.00 ± 2.83", "2.00 ± 1.41")


@pytest.mark.slow
def test_the_example_reaches_what_it_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    monkeypatch.setattr(demo, "OUT", tmp_path)
    monkeypatch.setattr(demo, "draw", lambda path, findings: (found.update(findings=findings), draw(path, findings)))
    demo.main(experiments.SHORT, Console(quiet=True))
    findings = found["findings"]
    inferred = {name: verdicts[0].inferred for name, verdicts in findings.table.items()}
    assert inferred[PROXIMAL.name] > inferred[AMORTISED.name] + 2
    assert inferred[PROXIMAL.name] > inferred[UNROLLED.name] - 0.1
    assert findings.costs.unrolled[-1].memory > 5 * findings.costs.implicit[-1].memory
    assert (tmp_path / "savi.png").stat().st_size > 1e5
