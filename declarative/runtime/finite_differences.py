"""A layer's backward against central differences of its forward, parameter by parameter, in float64.

With a random cotangent c and phi(theta) = c'outputs(theta), a parameter is moved along a random direction d and

    (phi(theta + h d) - phi(theta - h d)) / 2h    is compared with    d' grad phi(theta),

relative to the larger of the two and of the size of the terms of phi. Each instance has its own parameters here, also
those that the batch shares, so that every instance is judged by itself; what the layer itself owns can only be judged
for the batch as a whole. Attributes are kept: a nonnegative parameter moves in proportion to its entries, and
a semidefinite one by the congruence (I + hM) X (I + hM)', whose second-order term cancels in the central difference.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from declarative.runtime.binding import Bound, Spec
from declarative.runtime.layer import Layer

STEP = 1e-5
DIRECTIONS = 2
SIGNED = frozenset({"nonneg", "nonpos"})
DEFINITE = frozenset({"psd", "nsd"})


def disagreement(layer: Layer, bound: Bound, instances: Tensor, step: float) -> Mapping[str, Tensor]:
    """The largest relative disagreement per parameter: (K,) for parameters of the call, () for what the layer owns.

    ``instances`` (K,): which instances of the batch, numbered row by row, to compare. Every parameter takes
    2 * `DIRECTIONS` solves of these instances. The layer is not changed.
    """
    probe = copy.deepcopy(layer).double()
    probe.on_failure, probe.check_inputs = "nan", False
    values = [_selected(v, s.rank, bound.batch, instances) for s, v in zip(bound.specs, bound.values, strict=True)]
    random = torch.Generator().manual_seed(0)
    phi = _Functional(probe, random)
    leaves = [v.clone().requires_grad_() for v in values]
    owned = dict(_owned(probe))
    weights = [w for group in owned.values() for w in group]
    value, scale = phi(leaves)
    found = torch.autograd.grad(value.sum(), [*leaves, *weights], allow_unused=True)
    gradients = [torch.zeros_like(x) if g is None else g for g, x in zip(found, [*leaves, *weights], strict=True)]

    worst: dict[str, Tensor] = {}
    for i, spec in enumerate(bound.specs):
        worst[spec.name] = torch.zeros_like(scale)
        for _ in range(DIRECTIONS):
            direction, moved = _motion(spec, values[i], random)
            ahead, behind = (phi([*values[:i], moved(h), *values[i + 1 :]])[0].detach() for h in (step, -step))
            exact = (gradients[i] * direction).reshape(len(instances), -1 if direction.numel() else 0).sum(-1)
            worst[spec.name] = torch.maximum(worst[spec.name], _relative(exact, ahead - behind, step, scale))
    position = len(leaves)
    for name, group in owned.items():
        own = gradients[position : position + len(group)]
        position += len(group)
        worst[name] = _owned_disagreement(lambda: phi(values)[0], group, own, random, step, scale)
    return worst


def _owned_disagreement(
    phi: Callable[[], Tensor], weights: list[Tensor], gradients: list[Tensor], random: torch.Generator, step: float,
    scale: Tensor,
) -> Tensor:  # fmt: skip
    """For tensors that the layer owns, moved together; ()."""
    worst = scale.new_zeros(())
    for _ in range(DIRECTIONS):
        directions = [_normal(w, random) for w in weights]
        exact = torch.stack([(g * d).sum() for g, d in zip(gradients, directions, strict=True)]).sum()
        start = [w.detach().clone() for w in weights]
        values = []
        for h in (step, -step):
            with torch.no_grad():
                for w, s, d in zip(weights, start, directions, strict=True):
                    w.copy_(s + h * d)
            values.append(phi().detach().sum())
        with torch.no_grad():
            for w, s in zip(weights, start, strict=True):
                w.copy_(s)
        worst = torch.maximum(worst, _relative(exact, values[0] - values[1], step, scale.sum()))
    return worst


class _Functional:
    """phi per instance, and the size of its terms; the cotangent is drawn at the first call."""

    def __init__(self, layer: Layer, random: torch.Generator) -> None:
        self._layer, self._random = layer, random
        self._cotangents: list[Tensor] | None = None

    def __call__(self, values: list[Tensor]) -> tuple[Tensor, Tensor]:
        """(K,) and (K,), the latter without gradient."""
        outputs = outputs_of(self._layer(*values))
        if self._cotangents is None:
            self._cotangents = [_normal(o, self._random, scaled=False) for o in outputs]
        terms = torch.cat([(o * c).flatten(1) for o, c in zip(outputs, self._cotangents, strict=True)], -1)
        return terms.sum(-1), terms.detach().abs().sum(-1)


def outputs_of(returned: Any) -> list[Tensor]:
    """The outputs of a call, each with at least one dimension after the batch's one."""
    outputs = [returned] if isinstance(returned, Tensor) else list(returned)
    return [o[..., None] if o.dim() == 1 else o for o in outputs]


def _selected(value: Tensor, rank: int, batch: torch.Size, instances: Tensor) -> Tensor:
    core = value.shape[value.dim() - rank :]
    flat = value.detach().double().expand((*batch, *core)).reshape((batch.numel(), *core))
    return flat[instances.to(value.device)]


def _owned(layer: Layer) -> Iterator[tuple[str, list[Tensor]]]:
    """The learned parameters, unconstrained as the optimiser sees them, and each extern's weights as one."""
    externs: dict[str, list[Tensor]] = {
        name: [w for w in layer.get_submodule(name).parameters() if w.requires_grad] for name in layer.externs
    }
    learned = {spec.name for spec in layer.parameters_of_layer if spec.binding == "learned"}
    taken = {id(w) for group in externs.values() for w in group}
    for path, weight in layer.named_parameters():
        if id(weight) not in taken and weight.requires_grad:
            name = next((part for part in path.split(".") if part in learned), path)
            yield name, [weight]
    yield from ((name, group) for name, group in externs.items() if group)


def _motion(spec: Spec, value: Tensor, random: torch.Generator) -> tuple[Tensor, Callable[[float], Tensor]]:
    """A direction of the size of the parameter, and the parameter moved along it, within its attributes."""
    if spec.attributes & SIGNED and not spec.attributes & {"diag"}:
        direction = value * _normal(value, random, scaled=False)
    elif spec.attributes & DEFINITE:
        M = _normal(value, random, scaled=False) / value.shape[-1]
        eye = torch.eye(value.shape[-1], dtype=value.dtype, device=value.device)
        return M @ value + value @ M.mT, lambda h: (eye + h * M) @ value @ (eye + h * M).mT
    else:
        direction = _normal(value, random)
        if "symmetric" in spec.attributes:
            direction = (direction + direction.mT) / 2
        if "diag" in spec.attributes:
            direction = direction * (value != 0 if spec.attributes & SIGNED else torch.eye(value.shape[-1]).to(value))
    return direction, lambda h: value + h * direction


def _normal(like: Tensor, random: torch.Generator, *, scaled: bool = True) -> Tensor:
    """Standard normal numbers, ``scaled`` to the largest entry of each instance (or of the whole, if it has one)."""
    drawn = torch.randn(like.shape, generator=random, dtype=torch.float64).to(like)
    if not scaled or like.numel() == 0:
        return drawn
    size = like.detach().abs()
    size = size.amax(tuple(range(1, like.dim())), keepdim=True) if like.dim() > 1 else size
    return drawn * torch.where(size > 0, size, 1)


def _relative(exact: Tensor, change: Tensor, step: float, scale: Tensor) -> Tensor:
    difference = change / (2 * step)
    largest = torch.stack([exact.abs(), difference.abs(), scale]).amax(0)
    return (exact - difference).abs() / largest.clamp_min(torch.finfo(largest.dtype).tiny)
