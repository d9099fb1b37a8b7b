"""What may be asked of a tensor while torch.func or a compiler runs the program over it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


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


def torch_func_is_active() -> bool:
    """Whether a transform of torch.func is under way, whatever it is taken of."""
    return bool(torch._C._are_functorch_transforms_active())


def without_tangent(tensor: Tensor) -> Tensor:
    """The tensor without the tangent of the level of forward mode that is under way; those of outer levels stay."""
    return forward_ad.unpack_dual(tensor, level=0).primal  # type: ignore[no-untyped-call,no-any-return]


def pushes_forward(jvp: Callable[..., Any]) -> Callable[..., Any]:
    """A ``jvp`` of an autograd function that forward mode may go through again, as in ``jacfwd`` of ``jacfwd``.

    Torch switches forward mode off while it runs one, so that the tangents of outer levels would be lost without a
    word. What the function saved carries those of this level, too, which `without_tangent` takes off.
    """

    @wraps(jvp)
    def differentiable(ctx: Any, *tangents: Any) -> Any:
        with forward_ad._set_fwd_grad_enabled(True):
            return jvp(ctx, *tangents)

    return differentiable


def plain_apply(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """What ``function.apply`` comes to where no tensor is torch.func's, without the inspection of its signature."""
    apply: Callable[..., Any] = super(torch.autograd.Function, function).apply  # type: ignore[misc]
    return apply
