"""A variational autoencoder whose posterior is refined by a layer, and the ways of training it.

    z ~ N(0, I),    x | z ~ N(decode(z), gamma I),    q(z | x) = N(mu, diag(exp(logvar))).

The encoder proposes (mu0, logvar0). What is done with the proposal is a `Method`: it says where the search starts, how
it goes, what its gradient is, and what the encoder learns from.

References: Kim et al., Semi-amortized variational autoencoders, 2018; Krishnan et al., On the challenges of learning
with inference networks on sparse, high-dimensional data, 2018, for local inference beside an encoder.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import declarative as dl

PIXELS = 64
LATENTS = 6
PROGRAM = Path(__file__).with_name("savi.opt")


class Posterior(NamedTuple):
    """A Gaussian with a diagonal covariance for each image, (*batch, k) twice."""

    mu: Tensor
    logvar: Tensor


@dataclass(frozen=True)
class Method:
    """One way to infer and to train.

    ``refines``: whether the layer is called at all. ``encodes``: whether the search starts from the encoder's proposal,
    or from the prior. ``rho``: weight of the tie to the proposal. ``distils``: whether the encoder is pulled to what
    the search finds. ``solver`` and ``gradient`` are those of the layer; a fixed step suits one ``gamma`` only.
    """

    name: str
    refines: bool = True
    encodes: bool = True
    rho: float = 0.0
    distils: bool = False
    solver: dl.GradientDescent | None = None
    gradient: str = "implicit"


STEPS = dl.GradientDescent(step_size=0.004, momentum=0.5, steps=20)
"""The inner steps of unrolling, for gamma = 0.02: the best of four sizes and two momenta by the bound reached."""

AMORTISED = Method("amortised only", refines=False)
SVI = Method("SVI, no encoder", encodes=False)
UNROLLED = Method("SA-VAE, 20 steps unrolled", solver=STEPS, gradient="unrolled")
PROXIMAL = Method("proximal, implicit", rho=1.0)
DISTILLED = Method("distillation", distils=True)
METHODS = (AMORTISED, SVI, UNROLLED, PROXIMAL, DISTILLED)


class Vae(nn.Module):
    """An encoder, and the layer that holds the decoder."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        decode = nn.Sequential(nn.Linear(LATENTS, hidden), nn.Tanh(), nn.Linear(hidden, PIXELS))
        self.encode = nn.Sequential(nn.Linear(PIXELS, 64), nn.Tanh(), nn.Linear(64, 2 * LATENTS))
        self.savi = dl.compile(PROGRAM)(decode=decode, each=torch.ones(2 * LATENTS))

    def propose(self, x: Tensor) -> Posterior:
        """The encoder's posterior of images (*batch, 64)."""
        return Posterior(*self.encode(x).chunk(2, -1))

    def search(self, method: Method) -> dl.Layer:
        """The layer, over the same decoder, with a method's solver and gradient."""
        layer = copy(self.savi)
        layer.solver, layer.gradient = method.solver, method.gradient
        return layer

    def infer(self, x: Tensor, noise: Tensor, gamma: float, method: Method) -> tuple[Posterior, Tensor]:
        """The posterior that a method infers from images (*batch, 64), and the loss that it trains by, (*batch).

        ``noise``: standard normal draws (*batch, 16, 8), the same for the whole search.
        """
        proposal = self.propose(x)
        variance, rho = x.new_tensor(gamma), x.new_tensor(method.rho)
        if not method.refines:
            none = torch.zeros_like(proposal.mu)
            return proposal, self.savi.objective(*proposal, x, none, none, noise, variance, 0 * rho, self.savi.each)
        start = proposal if method.encodes else Posterior(*map(torch.zeros_like, proposal))
        if method.distils:
            start = Posterior(start.mu.detach(), start.logvar.detach())
        refined = self.search(method)(x, start.mu, start.logvar, noise, variance, rho)
        found = Posterior(refined.mu, refined.logvar)
        if not method.distils:
            return found, refined.loss
        return found, refined.loss + divergence(proposal, Posterior(found.mu.detach(), found.logvar.detach()))


def divergence(of: Posterior, to: Posterior) -> Tensor:
    """KL(of || to) of Gaussians with diagonal covariances, (*batch)."""
    spread = (of.logvar - to.logvar).exp() + (of.mu - to.mu).square() / to.logvar.exp()
    return (spread - 1 - of.logvar + to.logvar).sum(-1) / 2


def draws(count: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Noise for ``count`` images (count, 2k, k): k orthogonal directions of length sqrt(k), turned at random for every
    image, and their opposites.

    So few independent draws would have a mean and a covariance of their own, and a search that is handed fixed draws
    fits its posterior to those. Here the mean is zero and the covariance the identity, exactly.
    Reference: Genz and Monahan, Stochastic integration rules for infinite regions, 1998 (spherical-radial rules).
    """
    turned = torch.linalg.qr(torch.randn(count, LATENTS, LATENTS, generator=generator, dtype=dtype)).Q
    return math.sqrt(LATENTS) * torch.cat([turned, -turned], -2)
