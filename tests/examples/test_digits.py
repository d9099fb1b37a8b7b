"""The digit classifier: its split is honest, its layers are in its gradient, and it reaches what is claimed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from rich.console import Console

import declarative as dl
from examples.digits import __main__ as demo
from examples.digits.data import load
from examples.digits.figure import on_pixels
from examples.digits.model import DeclaredReader, Layers, dense_reader_of, size
from examples.digits.training import Recipe, moved, train

PROGRAMS = Path(demo.__file__).parent


@pytest.fixture(scope="module")
def reader() -> DeclaredReader:
    torch.manual_seed(0)
    names = ("attend", "decide", "choose")
    return DeclaredReader(Layers(**{name: dl.compile(PROGRAMS / f"{name}.opt") for name in names}))


def test_parts_are_disjoint_and_complete() -> None:
    digits = load()
    parts = (digits.train, digits.validation, digits.test)
    assert [len(part) for part in parts] == [1200, 197, 400]
    images = torch.cat([part.images for part in parts]).flatten(1)
    assert len({tuple(image.tolist()) for image in images}) == 1797
    assert torch.equal(load().test.images, digits.test.images)
    for part in parts:
        assert set(part.classes.tolist()) == set(range(10))


def test_probabilities_are_those_of_a_softmax_at_the_learned_temperature(reader: DeclaredReader) -> None:
    images = load().validation.images[:8]
    log_p, weights, price = reader(images)
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(8, 16), atol=1e-5, rtol=0)
    assert (weights == 0).double().mean() > 0.3
    assert (price >= 0).all()


def test_every_weight_is_trained(reader: DeclaredReader) -> None:
    digits = load()
    reader.zero_grad()
    # Evidence far from zero, so that learned limits bind and G and h have a say.
    reader.gather.weight.data.mul_(40)
    torch.nn.functional.nll_loss(reader(digits.train.images[:64]).log_p, digits.train.classes[:64]).backward()
    reader.gather.weight.data.div_(40)
    for name, weight in reader.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def test_training_lowers_the_loss(reader: DeclaredReader) -> None:
    digits = load()
    few = type(digits.train)(digits.train.images[:200], digits.train.classes[:200])
    epochs = list(train(reader, few, digits.validation, Recipe(epochs=12, batch=50), seed=0))
    assert epochs[-1].loss < 0.8 * epochs[0].loss


def test_the_baseline_is_no_smaller_than_it_could_be(reader: DeclaredReader) -> None:
    weights = size(reader)
    dense = dense_reader_of(weights)
    assert 0.95 * weights < size(dense) <= weights


def test_moving_fills_with_background() -> None:
    images = torch.ones(40, 8, 8)
    shifted = moved(images, 1.0, torch.Generator().manual_seed(0))
    assert set(shifted.flatten(1).sum(-1).tolist()) == {64.0, 56.0, 49.0}
    assert torch.equal(moved(images, 0.0, torch.Generator().manual_seed(0)), images)


def test_pixels_of_a_window() -> None:
    weights = torch.zeros(36)
    weights[6 * 2 + 1] = 1.0  # the window whose upper left pixel is in row 2, column 1
    image = on_pixels(weights)
    assert torch.equal(image[2:5, 1:4], torch.ones(3, 3))
    assert image.sum() == 9


@pytest.mark.slow
def test_demo_reaches_what_it_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "OUT", tmp_path)
    console = Console(record=True, width=200, quiet=True)
    monkeypatch.setattr(demo, "Console", lambda **_: console)
    demo.main()
    found = re.findall(r"([\d.]+)%\s*$", console.export_text(), re.MULTILINE)
    assert len(found) == 2
    assert float(found[0]) >= 95.0
    assert {"digits.png", "attend.py", "decide.py", "choose.py"} <= {path.name for path in tmp_path.iterdir()}
