"""Rows of a Jacobian are mapped over in passes that the values between are small enough for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from declarative.runtime import derivatives


class Largest(TorchDispatchMode):
    """The number of entries of the largest tensor that an operation returns."""

    entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [t.numel() for t in tree_leaves(result) if isinstance(t, Tensor)]
        self.entries = max([self.entries, *sizes])
        return result


@pytest.mark.parametrize("width", [4, 64, 1024])
def test_no_value_outgrows_a_pass(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    inner, outer = (torch.randn(width, 16, generator=generator, dtype=torch.float64) for _ in range(2))
    x = torch.randn(64, 16, generator=generator, dtype=torch.float64)
    with Largest() as seen:
        found = derivatives.hessian(lambda y: (torch.tanh(y @ inner.mT) @ outer).square().sum(-1), x)
    assert seen.entries == min(2**18, 16 * 64 * max(width, 16))

    t = torch.tanh(x @ inner.mT)
    first = torch.einsum("wk,bw,wn->bkn", outer, 1 - t**2, inner)
    second = torch.einsum("bw,bw,wn,wm->bnm", (t @ outer) @ outer.mT, -2 * t * (1 - t**2), inner, inner)
    torch.testing.assert_close(found, 2 * (first.mT @ first + second), atol=1e-9, rtol=1e-12)
