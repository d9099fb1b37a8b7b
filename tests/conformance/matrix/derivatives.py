"""Rows about first and second derivatives by torch.autograd."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

import declarative as dl
from tests.conformance.matrix.measure import (
    all_close,
    close,
    cotangents,
    difference,
    direction,
    gradients,
    leaves,
    named_close,
    same_bits,
    values_and_gradients,
    weigh,
)
from tests.conformance.matrix.property import property_of
from tests.conformance.matrix.subject import Data, Setting, outputs


@property_of("backward")
def backward(setting: Setting) -> None:
    """Gradients of all outputs, duals too, by every parameter, learned parameter and weight of an extern equal central
    differences in float64; in float32 they equal those in float64."""
    layer, data = setting.layer(), setting.data()
    values, found = values_and_gradients(layer, data)
    weights = cotangents(values)
    if not setting.double:
        exact = setting.exact()
        wanted = values_and_gradients(exact.layer(), exact.data(), [w.double() for w in weights])
        all_close(values, wanted[0], setting.accuracy, "output")
        named_close(found, wanted[1], 5 * setting.accuracy, "gradient")
        return
    for name, point in (data | dict(layer.named_parameters())).items():
        along = direction(point)
        numeric = difference(lambda: weigh(outputs(layer, data), weights), point, along)
        close((found[name] * along).sum(), torch.tensor(numeric), 1e-5, f"gradient of {name}")


def first_derivative(layer: dl.Layer, targets: Data, weights: list[Tensor], along: Data) -> Tensor:
    """The derivative of the weighed outputs along a direction of everything, differentiable again."""
    of_call = {name: value for name, value in targets.items() if name not in dict(layer.named_parameters())}
    total = weigh(outputs(layer, of_call), weights)
    first = gradients(total, targets, create_graph=True)
    return torch.stack([(first[name] * along[name]).sum() for name in targets]).sum()


@property_of("double backward", single=False)
def double_backward(setting: Setting) -> None:
    """Gradients with `create_graph=True` equal those without, and differentiated again equal central differences of
    the first ones."""
    layer = setting.layer()
    targets = leaves(setting.data()) | dict(layer.named_parameters())
    weights = cotangents(outputs(layer, setting.data()))
    along = {name: direction(value, 31) for name, value in targets.items()}
    slope = first_derivative(layer, targets, weights, along)
    _, plain = values_and_gradients(layer, setting.data(), weights)
    close(slope, torch.stack([(plain[n] * along[n]).sum() for n in plain]).sum(), 1e-8, "first derivative")
    second = gradients(slope, targets)
    for name, point in targets.items():
        motion = direction(point, 32)
        numeric = difference(lambda: first_derivative(layer, targets, weights, along), point, motion)
        close((second[name] * motion).sum(), torch.tensor(numeric), 1e-5, f"second derivative by {name}")


@property_of("forward mode")
def forward_mode(setting: Setting) -> None:
    """Dual numbers of `torch.autograd.forward_ad` carry the transpose of the backward, through all parameters at
    once."""
    layer, data = setting.layer(), setting.data()
    along = {name: direction(value, 33) for name, value in data.items()}
    values = outputs(layer, data)
    weights = cotangents(values)
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(value, along[name]) for name, value in data.items()}
        parts = [forward_ad.unpack_dual(v) for v in outputs(layer, duals)]
        all_close([p.primal for p in parts], values, setting.accuracy, "output")
        zero = [torch.zeros_like(v) if p.tangent is None else p.tangent for p, v in zip(parts, values, strict=True)]
        forward = torch.stack([(t * w).sum() for t, w in zip(zero, weights, strict=True)]).sum()
    targets = leaves(data)
    linear = [(v * w).sum() for v, w in zip(outputs(layer, targets), weights, strict=True)]
    found = gradients(torch.stack(linear).sum(), targets)
    reverse = torch.stack([(found[name] * along[name]).sum() for name in found]).sum()
    close(forward, reverse, 10 * setting.accuracy, "directional derivative")


@property_of("subsets")
def subsets(setting: Setting) -> None:
    """Whichever parameters require a gradient, each gets the one it has when all do, and the others get none."""
    layer, data = setting.layer(), setting.data()
    values, whole = values_and_gradients(layer, data)
    for name in data:
        chosen = {n: v.clone().requires_grad_(n == name) for n, v in data.items()}
        layer.zero_grad()
        weigh(outputs(layer.requires_grad_(False), chosen), cotangents(values)).backward()
        layer.requires_grad_(True)
        close(chosen[name].grad, whole[name], setting.accuracy, f"gradient of {name} alone")
        assert all(v.grad is None for n, v in chosen.items() if n != name)


@property_of("repeated")
def repeated(setting: Setting) -> None:
    """The same call, and the same backward through a kept graph, give the same bits."""
    layer, targets = setting.layer(), leaves(setting.batch())
    everything = targets | dict(layer.named_parameters())
    values = outputs(layer, targets)
    total = weigh(values, cotangents(values))
    first = gradients(total, everything, retain_graph=True)
    same_bits(gradients(total, everything).values(), first.values(), "second backward")
    again, fresh = values_and_gradients(layer, setting.batch())
    same_bits(again, values, "output of a second call")
    same_bits(fresh.values(), first.values(), "gradient of a second call")


def pairs(setting: Setting) -> list[tuple[str, str]]:
    """Parameters of one shape, of which one tensor may be both."""
    shapes = {name: value.shape for name, value in setting.data().items()}
    names = list(shapes)
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if shapes[a] == shapes[b]]


@property_of("one tensor twice", lambda s: "" if pairs(s) else "no two parameters have one shape")
def one_tensor_twice(setting: Setting) -> None:
    """A tensor given for two parameters gets the sum of their gradients."""
    layer, data = setting.layer(on_failure="nan"), setting.data()
    for first, second in pairs(setting):
        # One's values for the other may leave an instance without a solution, which is then nothing to compare.
        if not bool(layer.solve(**(data | {second: data[first]})).solved):
            continue
        apart = leaves(data | {second: data[first]})
        values = outputs(layer, apart)
        wanted = gradients(weigh(values, cotangents(values)), apart)
        both = data[first].clone().requires_grad_()
        given = {**apart, first: both, second: both}
        found = gradients(weigh(outputs(layer, given), cotangents(values)), {"both": both})
        close(found["both"], wanted[first] + wanted[second], setting.accuracy, f"gradient of {first} as {second}")


DERIVATIVES = (backward, double_backward, forward_mode, subsets, repeated, one_tensor_twice)
