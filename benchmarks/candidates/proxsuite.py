"""proxsuite.torch: ProxQP and its own backward, solved in parallel.

It takes half of the processors that it is told of and makes gradients of torch's default dtype: it is told of twice as
many as torch has threads, and the default dtype is float64 here. Its default backward stops at 1e-4; the accurate
setting has every tolerance and regularisation at 1e-10 or below. Reference: Bambade et al., QPLayer, 2023.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from benchmarks.candidates.candidate import Call, Candidate, Kind, UnavailableError, differentiated, written_out
from benchmarks.cases import DOUBLE, Case

ACCURATE = {"eps": 1e-12, "eps_backward": 1e-12, "rho_backward": 1e-10, "mu_backward": 1e-10}


def prepare(case: Case, **settings: Any) -> Call:
    if case.dtype != DOUBLE or torch.get_default_dtype() != DOUBLE:
        raise UnavailableError("its gradients have torch's default dtype")
    from proxsuite.torch import qplayer

    qplayer.os = SimpleNamespace(cpu_count=lambda: 2 * torch.get_num_threads())

    def forward(*parameters: Tensor) -> Tensor:
        P, q, A, b, G, h = written_out(parameters, case.batch)
        return qplayer.QPFunction(omp_parallel=True, **settings)(P, q, A, b, G, torch.full_like(h, -1e20), h)[0]

    return differentiated(forward, case)


DEFAULT = Candidate("proxsuite.torch", Kind.LAYER, prepare, "proxsuite")
TIGHT = Candidate("proxsuite.torch at 1e-12", Kind.LAYER, partial(prepare, **ACCURATE), "proxsuite")
