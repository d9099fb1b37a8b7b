"""Layers made by ``dl.compile``, alone and inside a model, are saved in one process and used in another."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import declarative as dl
from tests.conformance.cases import PROGRAMS

READ = """
import sys, torch
model = torch.load(sys.argv[1] + "/model.pt", weights_only=False)
arguments = torch.load(sys.argv[1] + "/arguments.pt")
result = model(*arguments)
torch.save(tuple(result) if isinstance(result, tuple) else (result,), sys.argv[1] + "/result.pt")
"""

LEARNED = """layer shrunk
dim n
param x[n]
param Q[n, n] psd learned
param upper nonneg learned
var y[n]

minimize sum_squares(y - x) + quad_form(y, Q)
subject to
  total: sum(y) == 1
  cap:   y <= upper
output y, dual(total) as nu
"""

NORMS = """layer norms
dim m, n
param A[m, n]
param b[m]
var x[n]

minimize norm2(A @ x - b) + norm2(x)
subject to
  size: norm2(x) <= 1/2
output x
"""


def elsewhere(folder: Path, model: nn.Module, *arguments: Tensor) -> tuple[Tensor, ...]:
    """What a saved model returns in another process."""
    torch.save(model, folder / "model.pt")
    torch.save(arguments, folder / "arguments.pt")
    subprocess.run([sys.executable, "-c", READ, str(folder)], check=True, timeout=120)
    result: tuple[Tensor, ...] = torch.load(folder / "result.pt")
    return result


def compiled(folder: Path, text: str) -> type[dl.Layer]:
    path = folder / "program.opt"
    path.write_text(text)
    return dl.compile(path)


def test_a_closed_form_inside_a_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), dl.compile(PROGRAMS / "sparsemax.opt")())
    x = torch.randn(5, 3)
    torch.testing.assert_close(elsewhere(tmp_path, model, x)[0], model(x), rtol=0, atol=1e-6)


def test_a_quadratic_program_with_learned_parameters_and_two_outputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    factor = torch.randn(4, 4, dtype=torch.float64)
    layer = compiled(tmp_path, LEARNED)(n=4, Q=factor @ factor.mT, upper=0.4, on_failure="nan").double()
    x = torch.randn(6, 4, dtype=torch.float64)
    found, wanted = elsewhere(tmp_path, layer, x), layer(x)
    assert len(found) == 2
    for ours, theirs in zip(wanted, found, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-9)
    # What the layer returns is a named tuple of a class that only this process made.
    script = "import pickle, sys; print(*pickle.load(open(sys.argv[1], 'rb'))._fields)"
    (tmp_path / "returned.pkl").write_bytes(pickle.dumps(wanted))
    read = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "returned.pkl")], check=True, capture_output=True, text=True
    )
    assert read.stdout.split() == ["y", "nu"]


def test_a_cone_layer_of_open_sizes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = compiled(tmp_path, NORMS)()
    A, b = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    torch.testing.assert_close(elsewhere(tmp_path, layer, A, b)[0], layer(A, b), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("text", [LEARNED, NORMS], ids=["emitted", "specialising"])
def test_in_one_process_the_class_is_the_same(tmp_path: Path, text: str) -> None:
    kind = compiled(tmp_path, text)
    layer = kind(n=3) if text is LEARNED else kind()
    assert type(pickle.loads(pickle.dumps(layer))) is kind
    assert pickle.loads(pickle.dumps(kind)) is kind


class Named(dl.compile(PROGRAMS / "sparsemax.opt")):  # type: ignore[misc]
    """A user's subclass, which has a place to be imported from."""


def test_a_subclass_is_stored_by_its_name() -> None:
    stored = pickle.dumps(Named())
    assert b"from declarative.runtime import" not in stored
    assert type(pickle.loads(stored)) is Named
