"""qpth: a batched interior point in torch. Its tolerance is 1e-12 as it comes, so it has one setting.

Reference: Amos and Kolter, OptNet: differentiable optimization as a layer in neural networks, 2017.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks.candidates.candidate import Call, Candidate, Kind, differentiated, written_out
from benchmarks.cases import Case


def prepare(case: Case, shared: bool) -> Call:
    """Parameters that the batch shares as they are, which its interface takes, or written out."""
    from qpth.qp import QPFunction

    solve = QPFunction(verbose=-1, check_Q_spd=False)
    absent = torch.empty(0, dtype=case.dtype)

    def forward(*parameters: Tensor) -> Tensor:
        P, q, A, b, G, h = parameters if shared else written_out(parameters, case.batch)
        return solve(P, q, G, h, *((A, b) if b.shape[-1] else (absent, absent)))

    return differentiated(forward, case)


LAYER = Candidate("qpth", Kind.LAYER, partial(prepare, shared=False), "qpth")
SHARED = Candidate("qpth, its own sharing", Kind.LAYER, partial(prepare, shared=True), "qpth")
SINGLE = Candidate("qpth, float32", Kind.LAYER, partial(prepare, shared=False), "qpth", torch.float32)
