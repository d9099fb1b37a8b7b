"""The example's two processes take the steps of one, here played in turn without any process group."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from examples.distributed import train as example
from examples.distributed.figure import draw


@pytest.fixture(autouse=True)
def double() -> object:
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(dtype)


def test_it_learns_and_no_instance_fails() -> None:
    found = example.train(rank=0, world=1, epochs=8)
    assert found["losses"][-1] < found["losses"][0] / 2
    assert found["right"] > 0.8
    assert (found["instances"], found["failed"]) == (8 * 11 * 128 + 389, 0)


def test_parts_of_a_batch_average_to_the_whole() -> None:
    torch.manual_seed(0)
    model = example.Classifier()
    (images, kinds), (more, _) = example.digits()
    assert (len(images), len(more)) == (11 * example.BATCH, 389)
    rows = torch.arange(example.BATCH)

    def gradients(own: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(cross_entropy(model(images[own]), kinds[own]), list(model.parameters())))

    parts = [gradients(own) for own in rows.chunk(2)]
    for whole, left, right in zip(gradients(rows), *parts, strict=True):
        torch.testing.assert_close((left + right) / 2, whole, rtol=1e-9, atol=1e-12)


def test_the_figure_is_drawn(tmp_path: object) -> None:
    run = {"losses": [2.0, 1.0], "seconds": [0.01, 0.02, 0.03]}
    draw(tmp_path / "distributed.png", {1: run, 2: run})
    assert (tmp_path / "distributed.png").stat().st_size > 1000
