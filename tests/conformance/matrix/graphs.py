"""Rows about torch.compile and torch.export."""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn

import declarative as dl
from tests.conformance.matrix.measure import all_close, cotangents, gradients, leaves, named_close, weigh
from tests.conformance.matrix.property import property_of
from tests.conformance.matrix.subject import BATCH, Data, Setting, outputs


def run(function: nn.Module, layer: dl.Layer, data: Data) -> tuple[tuple[Tensor, ...], Data]:
    targets = leaves(data)
    values = outputs(function, targets)
    found = gradients(weigh(values, cotangents(values)), targets | dict(layer.named_parameters()))
    return values, found


ROUNDING = {torch.float64: 1e-8, torch.float32: 5e-6}
"""How closely a graph repeats the layer's own numbers: its solve is the same, and what is around it is rounded."""


def is_the_same_graph(setting: Setting) -> str:
    if setting.backend == setting.subject.backends[0] or setting.layer().solution is None:
        return ""
    return "the graph of a closed form is the same by every backend"


@property_of("torch.compile", is_the_same_graph, slow=True)
def compile(setting: Setting) -> None:
    """`torch.compile(fullgraph=True)` gives the outputs and the gradients of the layer itself, at another size of the
    batch too."""
    layer, accuracy = setting.layer(), ROUNDING[setting.dtype]
    torch._dynamo.reset()
    function = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for size in (BATCH, BATCH + 2):
        data = setting.batch(size)
        values, found = run(function, layer, data)  # type: ignore[arg-type]
        wanted, expected = run(layer, layer, data)
        all_close(values, wanted, accuracy, f"output of {size} instances")
        named_close(found, expected, 10 * accuracy, f"gradient of {size} instances")
    torch._dynamo.reset()


@property_of("torch.export", is_the_same_graph, slow=True)
def export(setting: Setting) -> None:
    """`torch.export` with an open batch, saved and loaded in the same process, gives the outputs of the layer at
    another size of it. Another process, too, may load the graph of any program but a local problem and a system of
    equations, which name their layer."""
    layer, data = setting.layer(), setting.batch()
    batch = torch.export.Dim("batch", min=2, max=1024)
    open_batch = tuple({0: batch} for _ in data)
    # The layer's arguments are (*args): their dynamic shapes are one tuple.
    exported = torch.export.export(layer, tuple(data.values()), dynamic_shapes=(open_batch,), strict=False)
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    buffer.seek(0)
    module = torch.export.load(buffer).module()
    for size in (BATCH, BATCH + 2):
        other = setting.batch(size)
        all_close(outputs(module, other), outputs(layer, other), ROUNDING[setting.dtype], f"output of {size} instances")


GRAPHS = (compile, export)
