"""What no solver can do without: one torch factorisation of the KKT matrix of an active set that is already known.

The rows that are active at the exact solution are found beforehand, the linear system over them (padded where the
instances have different numbers) is solved by LU, and torch differentiates that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.candidates.candidate import Call, Candidate, Kind, differentiated, written_out
from benchmarks.cases import Case
from benchmarks.reference import stated
from declarative.runtime.quadratic import matvec
from declarative.runtime.solvers.interior_point import InteriorPoint

BATCHED = 140
"""Size of the system up to which torch's batched LU on the CPU is right with several threads (2.13); beyond it the
instances are factored one by one."""


def active_rows(case: Case) -> tuple[Tensor, Tensor]:
    """Indices (batch, k) of the active rows of G, k the largest number of them, and which of them are no padding."""
    program = stated(case.parameters)
    if program.G is None or program.h is None:
        return torch.zeros(case.batch, 0, dtype=torch.int64), torch.zeros(case.batch, 0, dtype=torch.bool)
    x, _, multiplier, _ = InteriorPoint().solve(program).point
    active = multiplier > program.h - matvec(program.G, x)
    rows = active.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, : int(active.sum(-1).max())]
    return rows, active.take_along_dim(rows, -1)


def prepare(case: Case) -> Call:
    rows, live = active_rows(case)

    def forward(*parameters: Tensor) -> Tensor:
        P, q, A, b, G, h = written_out(parameters, case.batch)
        C = torch.cat([A, torch.where(live[..., None], G.take_along_dim(rows[..., None], 1), 0)], 1)
        d = torch.cat([b, torch.where(live, h.take_along_dim(rows, 1), 0)], 1)
        padding = torch.cat([torch.zeros_like(b), (~live).to(P.dtype)], 1)
        symmetric = (P + P.mT) / 2
        K = torch.cat([torch.cat([symmetric, C.mT], 2), torch.cat([C, torch.diag_embed(padding)], 2)], 1)
        right = torch.cat([-q, d], 1)
        if K.shape[-1] <= BATCHED:
            return torch.linalg.solve(K, right)[:, : q.shape[1]]
        return torch.stack([torch.linalg.solve(*one) for one in zip(K, right, strict=True)])[:, : q.shape[1]]

    return differentiated(forward, case)


SOLVE = Candidate("torch LU, active set known", Kind.YARDSTICK, prepare)
SINGLE = Candidate("torch LU, active set known, float32", Kind.YARDSTICK, prepare, dtype=torch.float32)
