"""A torch module as a function of its weights, so that a problem can have them as its variable."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class OfWeights(nn.Module):
    """``module`` with its weights as the first argument: ``forward(w, x)`` for weights w (*batch, p) and inputs x
    (*batch, k), one number each, of which every instance has its own; the result is (*batch, k).

    The module's own weights say how many there are and what they start from, ``initial``; they are not read after.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.shapes = {name: weight.shape for name, weight in module.named_parameters()}
        self.initial = nn.utils.parameters_to_vector(module.parameters()).detach()
        # Out of nn.Module's sight: its weights are no data of the problem.
        self.__dict__["module"] = module.requires_grad_(False)

    def forward(self, w: Tensor, x: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(w.shape[:-1], x.shape[:-1])
        w, x = (t.expand(*batch, t.shape[-1]).reshape(-1, t.shape[-1]) for t in (w, x))
        return torch.func.vmap(self._one)(w, x).reshape(*batch, x.shape[-1])

    def _one(self, w: Tensor, x: Tensor) -> Tensor:
        parts = w.split([shape.numel() for shape in self.shapes.values()])
        weights = {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        result: Tensor = torch.func.functional_call(self.__dict__["module"], weights, (x[:, None],))
        return result[:, 0]


def sine_network(hidden: int) -> OfWeights:
    """One input, of a size up to 5 or so, two layers of ``hidden`` smooth units, one output."""
    first = nn.Linear(1, hidden)
    with torch.no_grad():
        first.weight.mul_(0.5)
        first.bias.uniform_(-2, 2)
    return OfWeights(nn.Sequential(first, nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1)))
