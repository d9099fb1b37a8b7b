"""Rows about tensors as they come: memory, dtypes, devices, threads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import declarative as dl
from tests.conformance.matrix.measure import (
    all_close,
    close,
    cotangents,
    gradients,
    leaves,
    named_close,
    same_bits,
    values_and_gradients,
    weigh,
)
from tests.conformance.matrix.property import property_of
from tests.conformance.matrix.subject import BATCH, Setting, outputs


@property_of("strides")
def strides(setting: Setting) -> None:
    """Tensors that are not contiguous, and expanded ones, mean their values; none is written to."""
    layer, batch = setting.layer(), setting.batch()
    values, found = values_and_gradients(layer, batch)
    weights = cotangents(values)
    wide = {n: torch.stack([v, v + 9], -1).requires_grad_() for n, v in batch.items()}
    gaps = {n: v[..., 0] for n, v in wide.items()}
    before = {n: v.detach().clone() for n, v in wide.items()}
    seen = outputs(layer, gaps)
    all_close(seen, values, setting.accuracy, "output of every other number")
    gapped = gradients(weigh(seen, weights), wide)
    named_close({n: g[..., 0] for n, g in gapped.items()}, {n: found[n] for n in wide}, setting.accuracy, "gradient")
    same_bits([wide[n].detach() for n in wide], before.values(), "parameter after the call")

    one = leaves({n: v[0] for n, v in batch.items()})
    spread = {n: v.expand(BATCH, *v.shape) for n, v in one.items()}
    copied = {n: v.detach().clone() for n, v in spread.items()}
    values, found = values_and_gradients(layer, copied, weights)
    seen = outputs(layer, spread)
    all_close(seen, values, setting.accuracy, "output of an expanded tensor")
    summed = gradients(weigh(seen, weights), one)
    for name, gradient in summed.items():
        close(gradient, found[name].sum(0), 10 * setting.accuracy, f"gradient of {name} expanded")


@property_of("dtype and device")
def dtype_and_device(setting: Setting) -> None:
    """Outputs and gradients have the dtype and the device of the data, half precision too; two dtypes are refused by
    name."""
    layer, data = setting.layer(), setting.batch()
    values, found = values_and_gradients(layer, data)
    for tensor in (*values, *found.values()):
        assert (tensor.dtype, tensor.device) == (setting.dtype, next(iter(data.values())).device)
    low = {name: value.bfloat16() for name, value in data.items()}
    rounded, targets = replace(setting, dtype=torch.float32).layer(), leaves(low)
    seen = outputs(rounded, targets)
    exact = outputs(rounded, {name: value.float() for name, value in low.items()})
    all_close(seen, exact, 2**-7, "output of bfloat16")
    gradients_low = gradients(weigh(seen, cotangents(seen)), targets)
    assert all(t.dtype == torch.bfloat16 and bool(t.isfinite().all()) for t in (*seen, *gradients_low.values()))
    other = torch.float32 if setting.double else torch.float64
    for name in data:
        mixed = data | {name: data[name].to(other)}
        owned = [p.dtype for p in layer.parameters()]
        if len(data) > 1 or owned:
            with pytest.raises(dl.InputError, match=f"`{name}`"):
                outputs(layer, mixed)


@property_of("threads")
def threads(setting: Setting) -> None:
    """The number of threads changes no bit of the outputs and the gradients."""
    layer, batch = setting.layer(), setting.batch(40)
    before = torch.get_num_threads()
    runs = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            values, found = values_and_gradients(layer, batch)
            runs.append([*values, *found.values()])
    finally:
        torch.set_num_threads(before)
    same_bits(*runs, what="tensor with two threads")


INPUTS = (strides, dtype_and_device, threads)
