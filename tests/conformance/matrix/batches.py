"""Rows about batches: composition, order, sharing and emptiness."""

from __future__ import annotations

import torch

from tests.conformance.matrix.measure import (
    all_close,
    close,
    cotangents,
    gradients,
    leaves,
    named_close,
    values_and_gradients,
    weigh,
)
from tests.conformance.matrix.property import property_of
from tests.conformance.matrix.subject import BATCH, Setting, outputs


@property_of("batch is a loop")
def batch_is_a_loop(setting: Setting) -> None:
    """Outputs and gradients of a batch are those of its instances by themselves, added up for what the layer owns."""
    layer, batch = setting.layer(), setting.batch()
    values, found = values_and_gradients(layer, batch)
    weights = cotangents(values)
    owned = {name: torch.zeros_like(value) for name, value in layer.named_parameters()}
    for i in range(BATCH):
        one = {name: value[i] for name, value in batch.items()}
        alone, own = values_and_gradients(layer, one, [w[i] for w in weights])
        all_close([v[i] for v in values], alone, setting.accuracy, f"output of instance {i}")
        named_close({n: found[n][i] for n in batch}, {n: own[n] for n in batch}, 5 * setting.accuracy, "gradient")
        owned = {name: total + own[name] for name, total in owned.items()}
    named_close({n: found[n] for n in owned}, owned, 10 * setting.accuracy, "gradient")


@property_of("shared parameters")
def shared_parameters(setting: Setting) -> None:
    """A parameter without batch dimensions, shared by the batch, gets the sum of its instances' gradients."""
    layer, batch, single = setting.layer(), setting.batch(), setting.data()
    for name in batch:
        if len(batch) > 1:
            shared = batch | {name: single[name]}
            copied = batch | {name: single[name].expand(BATCH, *single[name].shape).clone()}
        else:  # nothing else to make a batch of: two batch dimensions, of which it has one
            shared = {name: batch[name]}
            copied = {name: batch[name].expand(2, *batch[name].shape).clone()}
        values, own = values_and_gradients(layer, copied)
        weights = cotangents(values)
        if len(batch) == 1:
            weights = [w.sum(0) for w in weights]
        seen, found = values_and_gradients(layer, shared, weights)
        if len(batch) > 1:
            all_close(seen, values, setting.accuracy, f"output with {name} shared")
        close(found[name], own[name].sum(0), 10 * setting.accuracy, f"gradient of {name} shared")


@property_of("permutation")
def permutation(setting: Setting) -> None:
    """Instances in another order have the same outputs and gradients, in that order."""
    layer, batch = setting.layer(), setting.batch(7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(5))
    values, found = values_and_gradients(layer, batch)
    weights = [w[order] for w in cotangents(values)]
    moved, own = values_and_gradients(layer, {n: v[order] for n, v in batch.items()}, weights)
    accuracy = setting.accuracy / 10
    all_close(moved, [v[order] for v in values], accuracy, "output")
    for name in found:
        wanted = found[name][order] if name in batch else found[name]
        close(own[name], wanted, 10 * accuracy, f"gradient of {name}")


@property_of("empty batch")
def empty_batch(setting: Setting) -> None:
    """A batch of no instances gives outputs of none, and zero gradients to what it shares and what the layer owns."""
    layer, single = setting.layer(), setting.data()
    first, *others = single
    targets = leaves({first: setting.batch()[first][:0], **{n: single[n] for n in others}})
    values = outputs(layer, targets)
    shapes = [tuple(v.shape) for v in outputs(layer, single)]
    assert [tuple(v.shape) for v in values] == [(0, *shape) for shape in shapes]
    found = gradients(weigh(values, values), targets | dict(layer.named_parameters()))
    assert all(not g.numel() or bool((g == 0).all()) for g in found.values())
    solution = layer.solve(**targets)
    assert solution.status.shape == solution.residuals.shape == (0,)


def has_empty_sizes(setting: Setting) -> str:
    return "" if setting.subject.empty else "no size of it may be zero"


@property_of("sizes of zero", has_empty_sizes)
def sizes_of_zero(setting: Setting) -> None:
    """Without rows the constraint is not there: the outputs and gradients are those of rows that never bind."""
    layer, data = setting.layer(), setting.data()
    none = {name: data[name].new_zeros(shape) for name, shape in setting.subject.empty.items()}
    slack = {name: torch.zeros_like(data[name]) if data[name].dim() > 1 else data[name] + 9 for name in none}
    values, found = values_and_gradients(layer, data | none)
    wanted = outputs(layer, data | slack)
    assert {tuple(v.shape) for v in values} >= {(0,)}
    kept = [i for i, v in enumerate(values) if v.shape != (0,)]
    all_close([values[i] for i in kept], [wanted[i] for i in kept], setting.accuracy, "output")
    targets = leaves(data | slack)
    again = outputs(layer, targets)
    weights = cotangents(values)
    expected = gradients(weigh([again[i] for i in kept], [weights[i] for i in kept]), targets)
    rest = [name for name in data if name not in none]
    named_close({n: found[n] for n in rest}, {n: expected[n] for n in rest}, 5 * setting.accuracy, "gradient")
    assert all(found[name].shape == shape for name, shape in setting.subject.empty.items())


BATCHES = (batch_is_a_loop, shared_parameters, permutation, empty_batch, sizes_of_zero)
