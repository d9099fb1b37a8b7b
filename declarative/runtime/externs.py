"""Torch modules inside a problem: their weights as data that the solution is differentiated by.

A layer's method such as ``objective(x, *tensors)`` calls submodules of the layer (``self.decode(z)``). The implicit
function theorem needs it as a function of the weights too: `with_weights` makes (x, *tensors, *weights) of it, by
``torch.func.functional_call``. The modules run on the whole batch at once and are never copied; threads that solve with
the same module take turns in it.

A module that draws random numbers or that mixes the instances of a batch has no stationary point per instance, so
`with_weights` refuses dropout and batch statistics that are active.

A result of another shape than the program declares would often broadcast, and the layer would solve another problem;
`checked` refuses it, and puts a note on whatever a module raises by itself.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
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


class _Turn:
    """Whose turn it is: weights are replaced in the module itself, where another thread would meet them."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """A lock that nobody holds; a forked child has none of the threads that held the old one."""
        self.lock = threading.RLock()


_turn = _Turn()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turn.renew)


def with_weights(
    layer: nn.Module, method: Callable[..., Tensor], externs: Iterable[str]
) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """``(function, weights)``: a bound method of ``layer`` as a function that takes the externs' weights last.

    ``externs`` names the submodules of ``layer`` that belong to the problem. ``weights`` are their parameters, in the
    order of ``named_parameters``, each once where modules share them; ``function(*arguments, *weights)`` runs the
    method with those tensors in their place. Raises `InputError` where an extern is random or mixes the batch in its
    present mode.
    """
    with _turn.lock:
        weights, places = _weights_of(layer, externs)
    bound = _Method(layer, method)

    def function(*arguments: Tensor) -> Tensor:
        split = len(arguments) - len(weights)
        replaced = {name: arguments[split + place] for name, place in places.items()}
        with _turn.lock:
            value: Tensor = torch.func.functional_call(bound, replaced, arguments[:split], tie_weights=False)
        return value

    return function, tuple(weights)


def _weights_of(layer: nn.Module, externs: Iterable[str]) -> tuple[list[Tensor], dict[str, int]]:
    """The weights of the modules, each once, and the number of the one at every place where one is kept."""
    weights: list[Tensor] = []
    places: dict[str, int] = {}
    seen: set[int] = set()
    for extern in externs:
        module = layer.get_submodule(extern)
        refuse_unsettled(extern, module)
        for path, part in module.named_modules(prefix=f"layer.{extern}"):
            if id(part) in seen:  # each place where a weight is kept once, or it would be restored to what replaced it
                continue
            seen.add(id(part))
            for name, weight in part.named_parameters(recurse=False):
                known = (i for i, other in enumerate(weights) if other is weight)
                places[f"{path}.{name}"] = next(known, len(weights))
                if places[f"{path}.{name}"] == len(weights):
                    weights.append(weight)
    return weights, places


def checked(
    extern: str, signature: str, module: Callable[..., Any], arguments: Sequence[Tensor], returns: tuple[int, ...]
) -> Tensor:
    """``module(*arguments)``, which must be a tensor (*batch, *returns) with the batch of the arguments.

    ``extern`` is what messages call the module, ``signature`` what the program declares, ``"z[k] -> xhat[d]"``. Raises
    `InputError` for another result; an exception of the module's own leaves it with a note, see `raised_by_extern`.
    """
    before = _random_states(arguments)
    try:
        value = module(*arguments)
    except Exception as error:
        _refuse_other_weights(extern, module, arguments)
        if raised_by_extern(error) is None:
            given = ", ".join(str(tuple(a.shape)) for a in arguments)
            error.add_note(f"{extern}, {signature}, {_RAISED} {type(error).__name__}, given {given}")
        raise
    if any(not torch.equal(a, b) for a, b in zip(before, _random_states(arguments), strict=True)):
        raise InputError(
            f"{extern} draws random numbers, so the problem has no stationary point; "
            "make it a function of its arguments alone, and hand the noise in as a parameter"
        )
    inputs, _, output = signature.partition(" -> ")
    declared = output.partition("[")[2].rstrip("]")
    ranks = [len(sizes.split(",")) if sizes else 0 for sizes in _INPUT.findall(inputs)]
    leads = [a.shape[: a.dim() - rank] for a, rank in zip(arguments, ranks, strict=True)]
    batch = tuple(torch.broadcast_shapes(*leads))  # type: ignore[no-untyped-call]
    if isinstance(value, Tensor) and tuple(value.shape) == (*batch, *returns):
        return value
    found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    symbols = f"(*batch, {declared})" if declared else "(*batch)"
    raise InputError(f"{extern} is declared {signature}: expected {symbols} = {(*batch, *returns)}, found {found}")


def _refuse_other_weights(extern: str, module: Callable[..., Any], arguments: Sequence[Tensor]) -> None:
    """Raise `InputError` where a module that has raised has weights of another dtype or device than its arguments."""
    weights = module.named_parameters() if isinstance(module, nn.Module) else ()
    for name, weight in weights:
        for given in arguments[:1]:
            if weight.is_floating_point() and (weight.dtype, weight.device) != (given.dtype, given.device):
                raise InputError(
                    f"{extern} is given {given.dtype} on {given.device}, but its weight `{name}` is {weight.dtype} on "
                    f"{weight.device}; bring them together, e.g. layer.to({str(given.device)!r}, {given.dtype})"
                ) from None


def _random_states(arguments: Sequence[Tensor]) -> list[Tensor]:
    """The states of the generators that a module could draw from: dropout written as a function has no module."""
    devices = {a.device for a in arguments if a.is_cuda}
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in sorted(devices, key=str))]


_RAISED = "raised"
_INPUT = re.compile(r"\w+(?:\[([^]]*)\])?")


def raised_by_extern(error: BaseException) -> str | None:
    """The note of `checked` on an exception that came out of an extern; None on any other."""
    return next((n for n in getattr(error, "__notes__", ()) if ": extern `" in n and f" {_RAISED} " in n), None)


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
