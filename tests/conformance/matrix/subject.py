"""What a row of the matrix is about: a program with well-posed random data, and the ways in which it may be solved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

import declarative as dl
from declarative.canonical.normalise import normalise
from declarative.codegen.torch_module import emit
from declarative.compiler import load, stages
from declarative.runtime.native import library
from declarative.structures.cone_program import ConeProgramMatch

Draw = Callable[[Generator, tuple[int, ...]], Tensor]
Data = dict[str, Tensor]

BATCH = 3


@contextmanager
def without_kernels() -> Iterator[None]:
    """As where the package was installed without a compiler: torch serves everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "library", lambda: None)
        yield


@dataclass(frozen=True)
class Backend:
    """A way of solving: ``solver`` and ``adjoint`` as a layer takes them, with or without the compiled kernels.

    ``tolerance``: what an iteration is held to in float64, so that its answers are those of a direct solver.
    """

    name: str
    solver: str | None = None
    adjoint: str | None = None
    kernels: bool = True
    tolerance: float | None = None

    def __str__(self) -> str:
        return self.name


NATIVE, TORCH = Backend("kernels"), Backend("torch", kernels=False)
DEFAULT = Backend("default")


@dataclass(frozen=True)
class Subject:
    """One program of a structure.

    ``text`` follows a header with the sizes n = 4 and m = 3; its outputs are all that it has, duals too. ``draws``: per
    parameter of the call, how to draw it with given batch dimensions. ``seed``: of data where the conditions of the
    implicit function theorem hold with a margin. ``owned``: keywords of the constructor. ``failing``: per status,
    values of some parameters that make an instance end in it. ``empty``: shapes of parameters for sizes of zero.
    ``convex``: there is a cone program to agree with. ``iterated``: it takes iterations, which may be cut short.
    """

    name: str
    structure: str
    text: str
    draws: Mapping[str, Draw]
    seed: int = 1
    owned: Callable[[], dict[str, Any]] = dict
    backends: tuple[Backend, ...] = (DEFAULT,)
    failing: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    empty: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    convex: bool = True
    iterated: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def program(self) -> str:
        return f"layer example\ndim n = 4, m = 3\n{self.text}\n"

    def data(self, seed: int | None = None, batch: tuple[int, ...] = ()) -> Data:
        """Parameters of a call in float64."""
        generator = torch.Generator().manual_seed(self.seed if seed is None else seed)
        return {name: draw(generator, batch) for name, draw in self.draws.items()}


@dataclass(frozen=True)
class Setting:
    """A cell's column: a subject solved by a backend at a precision."""

    subject: Subject
    backend: Backend
    dtype: torch.dtype = torch.float64

    def __str__(self) -> str:
        return f"{self.subject}-{self.backend}-{str(self.dtype).removeprefix('torch.')}"

    @property
    def double(self) -> bool:
        return self.dtype == torch.float64

    @property
    def accuracy(self) -> float:
        """How closely two ways to the same number must agree."""
        return 1e-8 if self.double else 2e-3

    def exact(self) -> Setting:
        return replace(self, dtype=torch.float64)

    @contextmanager
    def active(self) -> Iterator[None]:
        with nullcontext() if self.backend.kernels else without_kernels():
            yield

    def layer(self, **settings: Any) -> dl.Layer:
        torch.manual_seed(0)
        layer = compiled(self.subject.program)(**self.subject.owned(), **settings).to(self.dtype)
        layer.solver, layer.adjoint = self.backend.solver, self.backend.adjoint
        if self.double and self.backend.tolerance is not None:
            layer.tolerance = self.backend.tolerance
        return layer

    def data(self, seed: int | None = None, batch: tuple[int, ...] = ()) -> Data:
        return {name: value.to(self.dtype) for name, value in self.subject.data(seed, batch).items()}

    def batch(self, size: int = BATCH) -> Data:
        """Instances near the subject's own data, so that what holds of it holds of them."""
        one, others = self.subject.data(), self.subject.data(self.subject.seed + 100, (size,))
        return {name: (0.98 * one[name] + 0.02 * others[name]).to(self.dtype) for name in one}

    def ranks(self) -> dict[str, int]:
        """Instance dimensions of each parameter."""
        return {spec.name: spec.rank for spec in compiled(self.subject.program).parameters_of_call}

    def cone_layer(self) -> dl.Layer:
        """The same program by way of cvxpy and a cone solver, which know nothing of structures; float64."""
        torch.manual_seed(0)
        return cone_class(self.subject.program)(**self.subject.owned()).double()


@cache
def compiled(program: str) -> type[dl.Layer]:
    return dl.compile(program)


@cache
def cone_class(program: str) -> type[dl.Layer]:
    parsed = dl.parse_program(program)
    sizes = {d.name: d.default for d in parsed.dimensions}
    return load(emit(parsed, ConeProgramMatch(normalise(parsed)), sizes), stages(parsed).class_name)


def outputs(layer: nn.Module, data: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    returned = layer(*data.values())
    return (returned,) if isinstance(returned, Tensor) else tuple(returned)
