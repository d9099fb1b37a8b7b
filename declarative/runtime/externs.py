"""Torch modules inside a problem: their weights as data that the solution is differentiated by.

A layer's method such as ``objective(x, *tensors)`` calls submodules of the layer (``self.decode(z)``). The implicit
function theorem needs it as a function of the weights too: `with_weights` makes (x, *tensors, *weights) of it, by
``torch.func.functional_call``. The modules run on the whole batch at once and are never copied.

A module that draws random numbers or that mixes the instances of a batch has no stationary point per instance, so
`with_weights` refuses dropout and batch statistics that are active.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from declarative.runtime.errors import InputError


class _Method(nn.Module):
    """A layer's method as a module's forward, which is what ``functional_call`` calls."""

    def __init__(self, layer: nn.Module, method: Callable[..., Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.method = method

    def forward(self, *arguments: Tensor) -> Tensor:
        return self.method(*arguments)


def with_weights(
    layer: nn.Module, method: Callable[..., Tensor], externs: Sequence[str]
) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """``(function, weights)``: a bound method of ``layer`` as a function that takes the externs' weights last.

    ``externs`` names the submodules of ``layer`` that belong to the problem. ``weights`` are their parameters, in the
    order of ``named_parameters``, each once where modules share them; ``function(*arguments, *weights)`` runs the
    method with those tensors in their place. Raises `InputError` where an extern is random or mixes the batch in its
    present mode.
    """
    named: dict[str, Tensor] = {}
    seen: set[int] = set()
    for extern in externs:
        module = layer.get_submodule(extern)
        refuse_unsettled(extern, module)
        for name, weight in module.named_parameters():
            if id(weight) not in seen:
                seen.add(id(weight))
                named[f"layer.{extern}.{name}"] = weight
    names = tuple(named)
    bound = _Method(layer, method)

    def function(*arguments: Tensor) -> Tensor:
        split = len(arguments) - len(names)
        replaced = dict(zip(names, arguments[split:], strict=True))
        value: Tensor = torch.func.functional_call(bound, replaced, arguments[:split])
        return value

    return function, tuple(named.values())


def refuse_unsettled(extern: str, module: nn.Module) -> None:
    """Raise `InputError` if a part of the module is random, or mixes the instances of a batch, as it is set now."""
    for path, part in module.named_modules():
        name = f"{extern}.{path}" if path else extern
        if _is_random(part):
            raise InputError(
                f"extern `{extern}`: `{name}` ({_described(part)}) draws random numbers in training mode, "
                "so the problem has no stationary point; "
                f"call `layer.{extern}.eval()` before the solve, or remove the randomness"
            )
        if _mixes_batch(part):
            raise InputError(
                f"extern `{extern}`: `{name}` ({_described(part)}) normalises by the statistics of the batch, "
                "so one instance's solution would depend on the others; "
                f"call `layer.{extern}.eval()` before the solve (with "
                "`track_running_stats=True`), or normalise each instance by itself, e.g. with `nn.LayerNorm`"
            )


def _is_random(part: nn.Module) -> bool:
    if not part.training:
        return False
    rate: Any = 0.0
    if isinstance(part, nn.modules.dropout._DropoutNd):
        rate = part.p
    elif isinstance(part, (nn.RNNBase, nn.MultiheadAttention)):
        rate = part.dropout
    elif isinstance(part, nn.RReLU):
        rate = part.upper - part.lower
    return bool(rate > 0)


def _mixes_batch(part: nn.Module) -> bool:
    if not isinstance(part, nn.modules.batchnorm._BatchNorm):
        return False
    return part.training or part.running_mean is None


def _described(part: nn.Module) -> str:
    return repr(part).splitlines()[0]
