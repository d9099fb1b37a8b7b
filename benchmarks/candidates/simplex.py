"""For the simplex family: entmax.sparsemax, by a full sort and by a partial one of the 100 largest, and torch.softmax.

Softmax solves another problem; it is the speed that users are used to. Its error is measured against its own formula.
Reference: Martins and Astudillo, From softmax to sparsemax, 2016; Peters, Niculae and Martins, Sparse
sequence-to-sequence models, 2019.
"""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.candidates.candidate import Call, Candidate, Kind, differentiated
from benchmarks.cases import Case


def entmax(case: Case, largest: int | None) -> Call:
    from entmax import sparsemax

    return differentiated(lambda v: sparsemax(v, dim=-1, k=largest), case)


def softmax(case: Case) -> Call:
    return differentiated(lambda v: torch.softmax(v, -1), case)


ENTMAX = Candidate("entmax.sparsemax", Kind.LAYER, partial(entmax, largest=None), "entmax")
ENTMAX_PARTIAL = Candidate("entmax.sparsemax, k = 100", Kind.LAYER, partial(entmax, largest=100), "entmax")
SOFTMAX = Candidate("torch.softmax", Kind.YARDSTICK, softmax)
