"""The table of sample programs that conformance is tested on: sizes, well-posed random data, an independent reference.

Every parameter is drawn by itself, so that any of them may be batched or shared by a batch and the problem still has a
solution. Data are not symmetric where they need not be: a missing transpose shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

import declarative as dl
from tests.conformance import references

PROGRAMS = Path(__file__).parents[1] / "programs" / "good"

Lead = tuple[int, ...]
Draw = Callable[[Generator, Lead], Tensor]
Data = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """One program.

    ``draws``: per parameter of the call, in order of declaration, how to draw it with given batch dimensions.
    ``shared``: those that a mixed batch shares. ``outputs``: names of the outputs. ``reference``: see `references`; it
    gets the parameters of the call and ``extra``. ``keywords`` makes the constructor's keywords. ``smooth``: the
    layer has derivatives of every order. ``duals``: names of the duals.
    """

    name: str
    draws: Mapping[str, Draw]
    outputs: tuple[str, ...]
    duals: tuple[str, ...]
    reference: Callable[..., references.Reference]
    shared: frozenset[str] = frozenset()
    keywords: Callable[[], dict[str, Any]] = dict
    extra: Callable[[dl.Layer], dict[str, Any]] = field(default=lambda layer: {})
    second_order: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        return PROGRAMS / f"{self.name}.opt"

    def layer(self, **settings: Any) -> dl.Layer:
        """A layer in float64."""
        return compiled(self.name)(**self.keywords(), **settings).double()

    def data(self, seed: int, batch: Lead = (), shared: Lead | None = None) -> Data:
        """Parameters of a call in float64; ``batch`` leads all, or ``shared`` those that a mixed batch shares."""
        generator = torch.Generator().manual_seed(seed)
        return {
            name: draw(generator, shared if shared is not None and name in self.shared else batch).double()
            for name, draw in self.draws.items()
        }

    def expected(self, layer: dl.Layer, instance: Data) -> references.Reference:
        return self.reference(**{k: v.detach().numpy() for k, v in instance.items()}, **self.extra(layer))

    def named(self, returned: Any) -> Data:
        """Outputs of the layer by name."""
        return {self.outputs[0]: returned} if isinstance(returned, Tensor) else returned._asdict()

    def ranks(self) -> dict[str, int]:
        """Instance dimensions of each parameter."""
        return {spec.name: spec.rank for spec in compiled(self.name).parameters_of_call}


@cache
def compiled(name: str) -> type[dl.Layer]:
    return dl.compile(PROGRAMS / f"{name}.opt")


def text(source: str, **sizes: int) -> type[dl.Layer]:
    """The class of a program given as text."""
    return dl.compile(dl.parse_program(source, "case.opt", sizes), **sizes)


def normal(*shape: int, scale: float = 1.0) -> Draw:
    return lambda generator, lead: scale * torch.randn((*lead, *shape), generator=generator, dtype=torch.float64)


def uniform(low: float, high: float, *shape: int) -> Draw:
    spread = high - low
    return lambda generator, lead: low + spread * torch.rand((*lead, *shape), generator=generator, dtype=torch.float64)


def definite(n: int) -> Draw:
    """Positive definite matrices, eigenvalues from 0.5."""

    def draw(generator: Generator, lead: Lead) -> Tensor:
        root = normal(n, n, scale=0.7)(generator, lead)
        return root @ root.mT + 0.5 * torch.eye(n, dtype=torch.float64)

    return draw


def symmetric(n: int) -> Draw:
    def draw(generator: Generator, lead: Lead) -> Tensor:
        M = normal(n, n)(generator, lead)
        return (M + M.mT) / 2

    return draw


def costs(n: int) -> Draw:
    """Nonnegative costs of which the first is always within a budget of 0.3."""

    def draw(generator: Generator, lead: Lead) -> Tensor:
        cheap, others = uniform(0.0, 0.2, 1)(generator, lead), uniform(0.4, 1.5, n - 1)(generator, lead)
        return torch.cat([cheap, others], -1)

    return draw


def loadings(factors: int, assets: int) -> Draw:
    """Factor loadings of assets of which the first is nearly riskless."""

    def draw(generator: Generator, lead: Lead) -> Tensor:
        safe = uniform(-0.05, 0.05, factors, 1)(generator, lead)
        return torch.cat([safe, uniform(-0.5, 0.5, factors, assets - 1)(generator, lead)], -1)

    return draw


def returns(assets: int) -> Draw:
    """Expected returns, the riskless asset's the lowest as a rule."""

    def draw(generator: Generator, lead: Lead) -> Tensor:
        return normal(assets)(generator, lead) - 2 * torch.eye(assets, dtype=torch.float64)[0]

    return draw


def branches(generator: Generator, lead: Lead) -> Tensor:
    """Starts near both branches of the unit circle."""
    side = torch.where(uniform(-1, 1)(generator, lead) < 0, -1.0, 1.0)
    return side * uniform(0.7, 1.2)(generator, lead)


def decoder() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))


def penalties(layer: dl.Layer) -> dict[str, np.ndarray]:
    return {name: getattr(layer, name).detach().numpy() for name in ("lasso", "ridge")}


CASES = (
    Case("softmax", {"x": normal(5)}, ("y",), ("simplex",), references.softmax, second_order=True),
    Case("sparsemax", {"x": normal(5, scale=0.7)}, ("y",), ("simplex",), references.sparsemax, second_order=True),
    Case(
        "optnet_qp",
        # As many rows as variables, in general position: feasible whatever b and h are.
        {"Q": definite(5), "q": normal(5, scale=2), "A": normal(2, 5), "b": normal(2)}
        | {"G": normal(3, 5), "h": uniform(-0.5, 1, 3)},
        ("z", "nu", "lam"),
        ("eq", "ineq"),
        references.optnet_qp,
        shared=frozenset({"Q", "G", "b"}),
        second_order=True,
    ),
    Case(
        "savi",
        {"x": normal(3), "mu0": normal(2, scale=0.5), "logvar0": normal(2, scale=0.5), "noise": normal(2)}
        | {"gamma": uniform(0.6, 1), "rho": uniform(0.5, 1)},
        ("mu", "logvar"),
        (),
        references.savi,
        shared=frozenset({"noise", "gamma", "rho"}),
        keywords=lambda: {"decode": decoder()},
        extra=lambda layer: {"decode": layer.decode},
        second_order=True,
    ),
    Case(
        "elastic_net",
        {"A": normal(6, 4), "b": normal(6, scale=1.5)},
        ("w",),
        (),
        references.elastic_net,
        shared=frozenset({"A"}),
        keywords=lambda: {"lasso": torch.tensor(0.8), "ridge": torch.tensor(0.4)},
        extra=penalties,
    ),
    Case(
        "portfolio",
        # 60 % in the first asset and the rest spread evenly have a risk of at most 0.36: |F w| <= 0.33, |d w| <= 0.14.
        {"mu": returns(4), "F": loadings(2, 4), "d": uniform(0.15, 0.22, 4)}
        | {"sigma_max": uniform(0.37, 0.4), "cap": uniform(0.6, 0.9)},
        ("w", "price_of_risk"),
        ("risk", "budget", "box"),
        references.portfolio,
        shared=frozenset({"F", "cap"}),
        second_order=True,
    ),
    Case(
        "mpc",
        {
            "x0": normal(3, scale=2.5),
            "A": normal(3, 3, scale=0.6),
            "B": normal(3, 2),
            "Q": definite(3),
            "R": definite(2),
        }
        | {"u_max": uniform(0.3, 0.6)},
        ("action", "x"),
        ("start", "dynamics", "limits", "slew"),
        references.mpc,
        shared=frozenset({"A", "Q", "u_max"}),
        keywords=lambda: {"T": 3},
        extra=lambda layer: {"T": 3},
    ),
    Case(
        "budget_softmax",
        {"x": normal(4), "cost": costs(4), "limit": uniform(0.35, 0.6)},
        ("y", "price"),
        ("simplex", "budget"),
        references.budget_softmax,
        shared=frozenset({"cost"}),
        second_order=True,
    ),
    Case(
        "low_rank",
        {"M": normal(3, 2), "tau": uniform(0.6, 1.0)},
        ("X",),
        (),
        references.low_rank,
        shared=frozenset({"tau"}),
        second_order=True,
    ),
    Case(
        "nearest_correlation",
        {"C": lambda generator, lead: 1.5 * symmetric(3)(generator, lead)},
        ("X",),
        ("definite", "unit"),
        references.nearest_correlation,
        second_order=True,
    ),
    Case(
        "circle",
        {"x": uniform(-0.8, 0.8), "y0": branches},
        ("y",),
        (),
        references.circle,
        second_order=True,
    ),
)

NAMES = [case.name for case in CASES]
