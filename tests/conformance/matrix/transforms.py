"""Rows about torch.func and its nestings."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import declarative as dl
from tests.conformance.matrix.measure import (
    STEP,
    all_close,
    close,
    cotangents,
    direction,
    gradients,
    leaves,
    named_close,
    values_and_gradients,
    weigh,
)
from tests.conformance.matrix.property import property_of
from tests.conformance.matrix.subject import BATCH, Data, Setting, outputs


def in_order(layer: dl.Layer, data: Data) -> Callable[..., tuple[Tensor, ...]]:
    """The layer as a function of tensors by position."""
    return lambda *values: outputs(layer, dict(zip(data, values, strict=True)))


def weighed(layer: dl.Layer, data: Data, weights: list[Tensor]) -> Callable[..., Tensor]:
    function = in_order(layer, data)
    return lambda *values: weigh(function(*values), weights)


@property_of("grad, vjp, jvp")
def grad_vjp_jvp(setting: Setting) -> None:
    """`torch.func.grad` and `vjp` equal the backward, and `jvp` is its transpose."""
    layer, data = setting.layer(), setting.data()
    values, whole = values_and_gradients(layer, data)
    wanted = {name: whole[name] for name in data}
    weights, places = cotangents(values), tuple(range(len(data)))
    found = torch.func.grad(weighed(layer, data, weights), argnums=places)(*data.values())
    named_close(dict(zip(data, found, strict=True)), wanted, setting.accuracy, "grad")
    seen, pull = torch.func.vjp(in_order(layer, data), *data.values())
    all_close(seen, values, setting.accuracy, "output of vjp")
    chained = tuple(w * (1 + 2 * v) for v, w in zip(values, weights, strict=True))
    named_close(dict(zip(data, pull(chained), strict=True)), wanted, setting.accuracy, "vjp")
    along = [direction(v, 41) for v in data.values()]
    _, pushed = torch.func.jvp(in_order(layer, data), tuple(data.values()), tuple(along))
    forward = torch.stack([(p * c).sum() for p, c in zip(pushed, chained, strict=True)]).sum()
    reverse = torch.stack([(wanted[n] * d).sum() for n, d in zip(data, along, strict=True)]).sum()
    close(forward, reverse, 10 * setting.accuracy, "jvp")


@property_of("jacrev, jacfwd")
def jacobians(setting: Setting) -> None:
    """Both Jacobians are equal, and contracted with a cotangent they are the backward."""
    layer, data = setting.layer(), setting.data()
    function, places = in_order(layer, data), tuple(range(len(data)))
    values, targets = outputs(layer, data), leaves(data)
    weights = cotangents(values)
    linear = [(v * w).sum() for v, w in zip(outputs(layer, targets), weights, strict=True)]
    wanted = gradients(torch.stack(linear).sum(), targets)
    by_rows = torch.func.jacrev(function, argnums=places)(*data.values())
    by_columns = torch.func.jacfwd(function, argnums=places)(*data.values())
    for place, name in enumerate(data):
        total = torch.zeros_like(data[name])
        for row, column, weight in zip(by_rows, by_columns, weights, strict=True):
            close(column[place], row[place], 10 * setting.accuracy, f"jacfwd by {name}")
            total = total + torch.tensordot(weight, row[place], weight.dim())
        close(total, wanted[name], 10 * setting.accuracy, f"jacrev by {name}")


@property_of("hessian", single=False)
def hessians(setting: Setting) -> None:
    """`hessian`, `jacrev` of `jacrev` and `jacfwd` of `jacfwd` are equal, symmetric, and the double backward."""
    layer, data = setting.layer(), setting.data()
    weights = cotangents(outputs(layer, data))
    for name, value in data.items():

        def function(moved: Tensor, name: str = name) -> Tensor:
            return weigh(outputs(layer, data | {name: moved}), weights)

        size = value.numel()
        whole = torch.func.hessian(function)(value)
        reverse = torch.func.jacrev(torch.func.jacrev(function))(value)
        forward = torch.func.jacfwd(torch.func.jacfwd(function))(value)
        close(reverse, whole, 1e-7, f"jacrev of jacrev by {name}")
        close(forward, whole, 1e-7, f"jacfwd of jacfwd by {name}")
        square = whole.reshape(size, size)
        close(square, square.mT, 1e-7, f"transposed hessian by {name}")
        leaf, along = value.clone().requires_grad_(), direction(value, 42)
        slope = gradients(function(leaf), {name: leaf}, create_graph=True)[name]
        twice = gradients((slope * along).sum(), {name: leaf})[name]
        close(square @ along.flatten(), twice.flatten(), 1e-7, f"hessian by {name}")


@property_of("third derivative", single=False)
def third_derivative(setting: Setting) -> None:
    """`grad` of `grad` of `grad`, along a line through the parameters, equals central differences of the second."""
    layer, data = setting.layer(), setting.data()
    weights = cotangents(outputs(layer, data))
    along = {name: direction(value, 43) for name, value in data.items()}

    def line(t: Tensor) -> Tensor:
        return weigh(outputs(layer, {n: v + t * along[n] for n, v in data.items()}), weights)

    second = torch.func.grad(torch.func.grad(line))
    origin = torch.zeros((), dtype=setting.dtype)
    third = torch.func.grad(second)(origin)
    numeric = (second(origin + STEP) - second(origin - STEP)) / (2 * STEP)
    close(third, numeric, 1e-4, "third derivative")


@property_of("vmap")
def vmap(setting: Setting) -> None:
    """`vmap` over all or some parameters, along whichever dimension, is the batch, also within another `vmap`."""
    layer, data, ranks = setting.layer(), setting.batch(), setting.ranks()
    single = setting.data()
    names = list(data)
    for mapped in (set(names), set(names[:1]), set(names[1:])):
        if not mapped:
            continue
        given = {n: data[n] if n in mapped else single[n] for n in names}
        expected = outputs(layer, given)
        # The first parameter's instances lie along its last dimension.
        moved = {n: v.movedim(0, -1) if n == names[0] and n in mapped else v for n, v in given.items()}
        dims = tuple((ranks[n] if n == names[0] else 0) if n in mapped else None for n in names)
        found = torch.func.vmap(in_order(layer, data), in_dims=dims)(*moved.values())
        all_close(found, expected, setting.accuracy, f"output mapped over {sorted(mapped)}")
    twice = {n: torch.stack([v, v.flip(0)]) for n, v in data.items()}
    nested = torch.func.vmap(torch.func.vmap(in_order(layer, data)))(*twice.values())
    all_close(nested, outputs(layer, twice), setting.accuracy, "output of nested maps")


@property_of("vmap of grad")
def vmap_of_grad(setting: Setting) -> None:
    """`vmap` of `grad` gives every instance's own gradient, of what they share too, and `grad` of `vmap` their sum."""
    layer, batch, single = setting.layer(), setting.batch(), setting.data()
    first, *others = batch
    weights = cotangents(outputs(layer, single))
    function, places = weighed(layer, single, weights), tuple(range(len(single)))
    dims = (0, *(None for _ in others))
    given = {first: batch[first], **{n: single[n] for n in others}}
    own = torch.func.vmap(torch.func.grad(function, argnums=places), in_dims=dims)(*given.values())
    for i in range(BATCH):
        alone = gradients_of(layer, given | {first: batch[first][i]}, weights)
        for name, found in zip(single, own, strict=True):
            close(found[i], alone[name], 10 * setting.accuracy, f"gradient of {name} in instance {i}")

    def total(*values: Tensor) -> Tensor:
        return torch.func.vmap(function, in_dims=dims)(*values).sum()

    summed = torch.func.grad(total, argnums=places)(*given.values())
    for name, mapped, found in zip(single, own, summed, strict=True):
        wanted = mapped if name == first else mapped.sum(0)
        close(found, wanted, 10 * setting.accuracy, f"gradient of the mapped sum by {name}")


def gradients_of(layer: dl.Layer, data: Data, weights: list[Tensor]) -> Data:
    targets = leaves(data)
    return gradients(weigh(outputs(layer, targets), weights), targets)


def owns(setting: Setting) -> str:
    return "" if list(setting.layer().parameters()) else "the layer owns no parameters"


@property_of("ensemble", owns)
def ensemble(setting: Setting) -> None:
    """`functional_call` under `vmap` solves for a stack of the layer's own parameters, with a gradient for each."""
    layer, data = setting.layer(), setting.data()
    values = outputs(layer, data)
    weights = cotangents(values)
    factors = (1.0, 0.9, 1.05)
    stacked = {n: torch.stack([f * p.detach() for f in factors]) for n, p in layer.named_parameters()}

    def total(own: Data) -> Tensor:
        returned = torch.func.functional_call(layer, own, tuple(data.values()))
        return weigh((returned,) if isinstance(returned, Tensor) else tuple(returned), weights)

    found = torch.func.vmap(torch.func.grad(total))(stacked)
    for i, factor in enumerate(factors):
        member = setting.layer()
        with torch.no_grad():
            for parameter in member.parameters():
                parameter.mul_(factor)
        _, wanted = values_and_gradients(member, data, weights)
        for name, gradient in found.items():
            close(gradient[i], wanted[name], 10 * setting.accuracy, f"gradient of {name} of member {i}")


TRANSFORMS = (grad_vjp_jvp, jacobians, hessians, third_derivative, vmap, vmap_of_grad, ensemble)
