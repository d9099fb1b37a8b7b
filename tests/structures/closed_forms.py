"""The table that closed forms are tested on: programs, the structure each has, and data that brings out its cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Generator, Tensor

import declarative as dl
from declarative.canonical.normalise import normalise
from declarative.codegen.torch_module import emit
from declarative.compiler import load
from declarative.ir.program import Program
from declarative.structures.cone_program import ConeProgramMatch

Draw = Callable[[Generator, tuple[int, ...]], Tensor]


@dataclass(frozen=True)
class Case:
    """``text`` after the header, the structure's name, a draw per parameter; ``infeasible``: data with no solution.

    ``exact``: the KKT residual of the closed form is at rounding, which not every way of stating the problem allows.
    """

    structure: str
    text: str
    draws: Mapping[str, Draw]
    infeasible: Mapping[str, float | list[float]] = field(default_factory=dict)
    twice: bool = True

    def program(self) -> Program:
        return dl.parse_program(f"layer example\ndim n = 5, m = 3\n{self.text}\n")

    def layer(self) -> dl.Layer:
        return _class(self.text)()

    def data(self, seed: int, batch: tuple[int, ...] = ()) -> dict[str, Tensor]:
        """Parameters of a call in float64."""
        generator = torch.Generator().manual_seed(seed)
        return {name: draw(generator, batch) for name, draw in self.draws.items()}

    def cone_layer(self) -> dl.Layer:
        """The same program by way of cvxpy and a cone solver, which know nothing of structures."""
        return _cone_class(self.text)()


@cache
def _class(text: str) -> type[dl.Layer]:
    return dl.compile(Case("", text, {}).program())


@cache
def _cone_class(text: str) -> type[dl.Layer]:
    program = Case("", text, {}).program()
    return load(emit(program, ConeProgramMatch(normalise(program)), {"n": 5, "m": 3}), "Example")


def normal(*shape: int, scale: float = 1.0) -> Draw:
    return lambda generator, lead: scale * torch.randn((*lead, *shape), generator=generator, dtype=torch.float64)


def uniform(low: float, high: float, *shape: int) -> Draw:
    spread = high - low
    return lambda generator, lead: low + spread * torch.rand((*lead, *shape), generator=generator, dtype=torch.float64)


X = {"x": normal(5, scale=2.0)}
W = {"w": uniform(0.3, 2.0, 5)}
HEAD = "param x[n]\n"
WEIGHTS = "param x[n]\nparam w[n] nonneg\n"

BOX = {
    "projection": Case("box", HEAD + "var y[n]\nminimize sum_squares(y - x)\nsubject to\n  b: -1 <= y <= 0.5", X),
    "tensors": Case(
        "box",
        HEAD + "param lo[n]\nparam hi[n]\nparam rho nonneg\nvar y[n]\n"
        "minimize rho * sum_squares(y - x) + sum_squares(y)\nsubject to\n  l: y >= lo\n  u: y <= hi",
        X | {"lo": uniform(-1, 0, 5), "hi": uniform(0, 1, 5), "rho": uniform(0.5, 2)},
        {"lo": [2.0] * 5, "hi": [1.0] * 5},
    ),
    "weighted": Case(
        "box",
        WEIGHTS
        + "param cap nonneg\nvar y[n] nonneg\nminimize sum(w * (y - x)^2) + x @ y\nsubject to\n  u: 3 * y <= cap",
        X | W | {"cap": uniform(0.5, 2)},
    ),
    "matrix": Case(
        "box",
        "param X[m, n]\nparam C[m, n]\nvar Y[m, n]\nminimize norm_fro(Y - X)^2 + sum(C * Y)\n"
        "subject to\n  b: abs(Y) <= 0.7",
        {"X": normal(3, 5), "C": normal(3, 5)},
    ),
    "scalar": Case(
        "box",
        "param s\nparam cap nonneg\nvar y\nminimize (y - s)^2 / 2\nsubject to\n  b: 0 <= y <= cap",
        {"s": normal(scale=2.0), "cap": uniform(0.2, 1)},
    ),
    "quadratic form": Case(
        "box",
        WEIGHTS + "var y[n]\nminimize quad_form(y, diag(w)) - x @ y\nsubject to\n  b: abs(y) <= 0.3",
        X | W,
    ),
}

CASES = {f"box, {k}": c for k, c in BOX.items()}
