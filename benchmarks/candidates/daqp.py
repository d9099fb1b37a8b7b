"""DAQP in a Python loop and a batched numpy adjoint: no layer, but what a careful user could write in an hour.

DAQP is a dual active-set method in C and ends exact; its multipliers say the active set, and one batched linear system
gives every gradient. Reference: Arnström, Bemporad and Axehill, A dual active-set solver for embedded quadratic
programming using recursive LDL' updates, 2022.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.candidates.candidate import Call, Candidate, Kind
from benchmarks.cases import DOUBLE, Answer, Case
from benchmarks.kkt import Arrays, pull_back

EQUALITY = 5
"""DAQP's flag of a row that holds with equality."""


def prepare(case: Case) -> Call:
    import daqp

    dtype = case.dtype

    def call() -> Answer:
        program = Arrays(*(np.ascontiguousarray(t.numpy(), np.float64) for t in case.repeated().parameters))
        P, q, A, b, G, h = program
        p, m = b.shape[-1], h.shape[-1]
        rows = np.concatenate([A, G], 1)
        upper, lower = np.concatenate([b, h], 1), np.concatenate([b, np.full_like(h, -1e30)], 1)
        sense = np.array([EQUALITY] * p + [0] * m, np.int32)
        x, multiplier = np.empty_like(q), np.empty((len(q), p + m))
        for i in range(len(q)):
            x[i], _, flag, told = daqp.solve(P[i], q[i], rows[i], upper[i], lower[i], sense)
            if flag != 1:
                raise RuntimeError(f"daqp ended with {flag}")
            multiplier[i] = told["lam"]
        nu, held = multiplier[:, :p], multiplier[:, p:]
        gradients = pull_back(program, x, nu, held, held > 0, case.cotangent.numpy().astype(np.float64))
        summed = (
            torch.from_numpy(g).sum_to_size(t.shape).to(dtype) for g, t in zip(gradients, case.parameters, strict=True)
        )
        return Answer(torch.from_numpy(x).to(dtype), tuple(summed))

    if dtype != DOUBLE:
        raise TypeError("float64 only")
    return call


LOOP = Candidate("DAQP in a loop, numpy adjoint", Kind.LOOP, prepare, "daqp")
