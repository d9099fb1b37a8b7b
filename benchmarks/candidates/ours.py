"""The package itself: the layer that `dl.compile` makes, as a user calls it, and the bare solve underneath it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

import declarative as dl
from benchmarks.candidates.candidate import Call, Candidate, Kind, differentiated
from benchmarks.cases import Case
from benchmarks.reference import stated
from declarative.runtime import implicit, project_on_simplex
from declarative.runtime.adjoints.native_active_set import NativeActiveSetAdjoint
from declarative.runtime.solvers.native_interior_point import NativeInteriorPoint

PROGRAMS = Path(__file__).parents[1] / "programs"


@cache
def compiled(name: str) -> torch.nn.Module:
    """The layer of a program of this folder."""
    return dl.compile(PROGRAMS / f"{name}.opt")()


def quadratic_layer(case: Case) -> Call:
    return differentiated(compiled("quadratic_program"), case)


def repeated_quadratic_layer(case: Case) -> Call:
    """With the matrices that the batch shares written out beforehand."""
    return quadratic_layer(case.repeated())


def quadratic_function(case: Case) -> Call:
    solver, adjoint = NativeInteriorPoint(), NativeActiveSetAdjoint()

    def solve(*parameters: Tensor) -> Tensor:
        return implicit.solve(stated(parameters), solver, adjoint).point[0]

    return differentiated(solve, case)


def sparsemax_layer(case: Case) -> Call:
    return differentiated(compiled("sparsemax"), case)


def sparsemax_function(case: Case) -> Call:
    return differentiated(lambda v: project_on_simplex(v).y, case)


def capped_simplex(case: Case) -> Call:
    """A tenth of the entries is chosen."""
    layer, k = compiled("capped_simplex"), torch.tensor(case.cotangent.shape[-1] / 10, dtype=case.dtype)
    return differentiated(lambda v: layer(v, k), case)


def box_with_budget(case: Case) -> Call:
    """The budget is a tenth of the number of entries, at the costs of `costs`."""
    layer, n = compiled("box_with_budget"), case.cotangent.shape[-1]
    cost, budget = costs(n, case.dtype), torch.tensor(n / 10, dtype=case.dtype)
    return differentiated(lambda v: layer(v, cost, budget), case)


def costs(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """n costs between 1/2 and 3/2."""
    return torch.linspace(0.5, 1.5, n, dtype=torch.float32).to(dtype)


LAYER = Candidate("declarative", Kind.OURS, quadratic_layer)
FUNCTION = Candidate("declarative, bare solve", Kind.OURS, quadratic_function)
SINGLE = Candidate("declarative, float32", Kind.OURS, quadratic_layer, dtype=torch.float32)
SPARSEMAX = Candidate("declarative", Kind.OURS, sparsemax_layer)
SPARSEMAX_FUNCTION = Candidate("declarative, bare function", Kind.OURS, sparsemax_function)
CAPPED_SIMPLEX = Candidate("declarative", Kind.OURS, capped_simplex)
BOX_WITH_BUDGET = Candidate("declarative", Kind.OURS, box_with_budget)
REPEATED = Candidate("declarative, matrices per instance", Kind.OURS, repeated_quadratic_layer)
