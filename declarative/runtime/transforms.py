"""What may be asked of a tensor while torch.func or a compiler runs the program over it."""

from __future__ import annotations

import torch
from torch import Tensor


def unwrapped(tensor: Tensor) -> Tensor:
    """The tensor under what `torch.func.grad` and its kin wrap it in, to be kept when they are gone."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    return tensor


def values_are_hidden(tensor: Tensor) -> bool:
    """Whether control flow may not depend on this tensor's values: torch.func maps over it, or a compiler traces it."""
    if torch.compiler.is_compiling():
        return True
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False
