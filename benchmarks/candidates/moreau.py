"""Moreau's own torch interface, with the solver that it chooses: an active-set method up to 500 variables, its most
accurate one, and its interior point beyond.

It solves Ax + s = b with s in a cone over fixed sparsity patterns, which are full here. It keeps its set-up when the
same matrices come again for the whole batch, so matrices that the batch shares are written out: learned ones change.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.candidates.candidate import Call, Candidate, Kind, UnavailableError, differentiated, written_out
from benchmarks.cases import DOUBLE, Case, Program


def full_pattern(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Offsets and columns of a full matrix in compressed rows."""
    return columns * torch.arange(rows + 1), torch.arange(columns).repeat(rows)


def prepare(case: Case) -> Call:
    if case.dtype != DOUBLE:
        raise UnavailableError("float64 only")
    import moreau
    from moreau.torch import Solver

    n, m, p = Program(*case.parameters).sizes
    solver = Solver(
        n,
        m + p,
        *full_pattern(n, n),
        *full_pattern(m + p, n),
        cones=moreau.Cones(num_zero_cones=p, num_nonneg_cones=m),
        settings=moreau.Settings(device="cpu", batch_size=case.batch, enable_grad=True),
    )

    def forward(*parameters: Tensor) -> Tensor:
        P, q, A, b, G, h = written_out(parameters, case.batch)
        return solver.solve(P.flatten(1), torch.cat([A, G], 1).flatten(1), q, torch.cat([b, h], 1)).x

    return differentiated(forward, case)


LAYER = Candidate("Moreau", Kind.LAYER, prepare, "moreau")
