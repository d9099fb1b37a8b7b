"""Training a model by a method, and judging it on images that training has not seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from examples.savi.model import AMORTISED, Method, Posterior, Vae, draws


@dataclass(frozen=True)
class Recipe:
    """How long and how fast: Adam, one cycle of the learning rate."""

    epochs: int
    rate: float
    batch: int = 120


WARM_UP = Recipe(epochs=400, rate=2e-2)
"""Of encoder and decoder alone, which every method starts from: until the bound on held-out images rises no more, since
up to there a search only repairs what a few cheap steps would have taught."""

RECIPE = Recipe(epochs=8, rate=3e-3)
"""Of each method, from there on."""


@dataclass(frozen=True)
class Verdict:
    """What a model reaches on held-out images, in nats per image: the bound of the encoder's ``proposal`` (NaN where
    the method has no encoder), that of what the method infers, and that of the posterior refined to the end whatever
    the method. ``active``: latents that the images move. ``seconds``: of one core, for training after the warm-up."""

    proposal: float
    inferred: float
    refined: float
    active: int
    seconds: float


REFINED = Method("refined to the end")


def train(model: Vae, images: Tensor, gamma: float, method: Method, recipe: Recipe, seed: int) -> Iterator[float]:
    """Train in place on images (N, 64); yields the mean loss of each epoch."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.rate)
    steps = -(-len(images) // recipe.batch) * recipe.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
    for _ in range(recipe.epochs):
        total = 0.0
        for chosen in torch.randperm(len(images), generator=generator).split(recipe.batch):
            x = images[chosen]
            _, loss = model.infer(x, draws(len(x), generator), gamma, method)
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach().sum())
        yield total / len(images)


def warmed_up(images: Tensor, gamma: float, seed: int) -> Vae:
    """A model whose encoder and decoder have been trained without a search."""
    torch.manual_seed(seed)
    model = Vae()
    for _ in train(model, images, gamma, AMORTISED, WARM_UP, seed):
        pass
    return model


@torch.no_grad()
def judge(model: Vae, images: Tensor, gamma: float, method: Method, seconds: float) -> Verdict:
    """The bounds on images (N, 64). The draws that a posterior is fitted to are not those that it is judged by."""
    generator = torch.Generator().manual_seed(0)
    noise = draws(len(images), generator)
    found = {m.name: model.infer(images, noise, gamma, m)[0] for m in (AMORTISED, method, REFINED)}
    bounds = {name: bound(model, images, q, gamma, generator) for name, q in found.items()}
    proposal = bounds[AMORTISED.name] if method.encodes else math.nan
    return Verdict(proposal, bounds[method.name], bounds[REFINED.name], active_units(found[method.name]), seconds)


def bound(model: Vae, x: Tensor, q: Posterior, gamma: float, generator: torch.Generator, count: int = 100) -> float:
    """The evidence lower bound per image, in nats, by ``count`` independent draws for each image."""
    total = 0.0
    for _ in range(count):
        z = q.mu + (q.logvar / 2).exp() * torch.randn(q.mu.shape, generator=generator)
        total += float((x - model.savi.decode(z)).square().sum(-1).mean()) / (2 * gamma * count)
    kl = (q.mu.square() + q.logvar.exp() - q.logvar - 1).sum(-1).mean() / 2
    return -(total + x.shape[-1] / 2 * math.log(2 * math.pi * gamma) + float(kl))


def active_units(q: Posterior, threshold: float = 0.01) -> int:
    """How many latents' means vary over the images by more than ``threshold``; the others say what the prior says.

    Reference: Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016.
    """
    return int((q.mu.var(0) > threshold).sum())
