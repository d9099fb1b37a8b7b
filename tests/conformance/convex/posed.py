"""A convex program of `tests/programs/convex` with random data and the same problem written by hand in cvxpy.

A reference takes the parameters of one instance and returns every output and every named dual, in the language's
convention: a problem is stated as a minimisation, `maximise` hands it over negated and the value back as it is meant.
Every parameter is drawn by itself, so that any of them may be shared by a batch and each instance has a solution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

import declarative as dl
from declarative.compiler import read
from declarative.ir.program import OptimalValue, Program
from tests.conformance.cases import Draw
from tests.conformance.references import Reference, Values, minimise

PROGRAMS = Path(__file__).parents[2] / "programs" / "convex"

Keywords = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Posed:
    """One program: its reference, how each parameter of the call is drawn, and a seed of regular data.

    ``immaterial`` are the parameters of which nothing depends at these data.
    """

    reference: Callable[..., Reference]
    draws: Mapping[str, Draw]
    seed: int
    keywords: Keywords
    immaterial: frozenset[str]

    @property
    def name(self) -> str:
        return self.reference.__name__

    @property
    def path(self) -> Path:
        return PROGRAMS / f"{self.name}.opt"

    @cached_property
    def program(self) -> Program:
        return read(self.path)

    @property
    def constraint_names(self) -> frozenset[str]:
        """Names of the constraints that are given one."""
        return frozenset(c.name for c in self.program.constraints if c.name)

    @property
    def value(self) -> str | None:
        """The name of the output that is the optimal value."""
        return next((o.name for o in self.program.outputs if isinstance(o.value, OptimalValue)), None)

    def layer(self) -> dl.Layer:
        return compiled(self.name)(**self.keywords()).double()

    def data(self, batched: Mapping[str, int] | int = 0) -> dict[str, Tensor]:
        """Parameters of a call in float64, with so many instances, each parameter or all."""
        generator = torch.Generator().manual_seed(self.seed)
        counts = batched if isinstance(batched, Mapping) else dict.fromkeys(self.draws, batched)
        return {n: draw(generator, (counts[n],) if counts[n] else ()) for n, draw in self.draws.items()}

    def expected(self, data: Mapping[str, Tensor]) -> tuple[Values, Values]:
        owned = {name: value.numpy() if isinstance(value, Tensor) else value for name, value in self.keywords().items()}
        return self.reference(**{name: value.detach().numpy() for name, value in data.items()}, **owned)

    def named(self, returned: Any) -> dict[str, Tensor]:
        """Outputs by name; a bare one by the name that the reference gives it."""
        if not isinstance(returned, Tensor):
            return dict(returned._asdict())
        (name,) = self.expected(self.data())[0]
        return {name: returned}


POSED: dict[str, Posed] = {}
"""Every program, in the order in which the files of references are read."""


def posed(
    seed: int = 1, *, keywords: Keywords = dict, immaterial: Iterable[str] = (), **draws: Draw
) -> Callable[[Callable[..., Reference]], Callable[..., Reference]]:
    """Register the reference of the program of the same name."""

    def register(reference: Callable[..., Reference]) -> Callable[..., Reference]:
        POSED[reference.__name__] = Posed(reference, draws, seed, keywords, frozenset(immaterial))
        return reference

    return register


@cache
def compiled(name: str) -> type[dl.Layer]:
    return dl.compile(PROGRAMS / f"{name}.opt")


def maximise(objective: cp.Expression, constraints: Sequence[Any] = ()) -> float:
    """The optimal value of a maximisation; the duals are those of the minimisation of its negative."""
    return -minimise(-objective, constraints)


def dual(constraint: Any) -> np.ndarray:
    """cvxpy's dual, which of a scalar constraint may be a vector of one entry."""
    return np.asarray(constraint.dual_value).reshape(constraint.shape)


def family(constraints: Sequence[Any]) -> np.ndarray:
    """Duals of an indexed constraint, the index first."""
    return np.stack([dual(c) for c in constraints])


def two_sided(upper: Sequence[Any], lower: Sequence[Any]) -> np.ndarray:
    """Positive at the upper side, negative at the lower."""
    return family(upper) - family(lower)


def signs(n: int) -> Draw:
    """Labels -1 and 1."""

    def draw(generator: torch.Generator, lead: tuple[int, ...]) -> Tensor:
        return 2.0 * torch.randint(0, 2, (*lead, n), generator=generator).double() - 1

    return draw


def instances(data: Mapping[str, Tensor], batched: Mapping[str, int], count: int) -> Iterator[dict[str, Tensor]]:
    """The instances of a batch, one after the other."""
    for i in range(count):
        yield {name: value[i] if batched[name] else value for name, value in data.items()}
