"""A module's result is compared with the shape that the program declares for it; what it raises is told as its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import declarative as dl
from declarative.cli.command_line import main
from declarative.runtime.externs import raised_by_extern

LOCAL = """layer decoded
dim k, d
param x[d]
param z0[k]
extern decode(z[k]) -> xhat[d] smooth
var z[k] from z0

minimize locally sum_squares(x - decode(z)) + sum_squares(z)
output z
"""

CONVEX = """layer shifted
dim n
param x[n]
extern shift(x[n], scale) -> t
param s
var y[n]

minimize sum_squares(y - x) + shift(x, s) * sum(y)
output y
"""


def compiled(folder: Path, text: str) -> type[dl.Layer]:
    path = folder / "program.opt"
    path.write_text(text)
    return dl.compile(path)


@pytest.mark.parametrize("width", [1, 4])
def test_another_width_is_refused(tmp_path: Path, width: int) -> None:
    layer = compiled(tmp_path, LOCAL)(decode=nn.Linear(2, width))
    wanted = r"extern `decode` is declared z\[k\] -> xhat\[d\]: expected \(\*batch, d\) = .*3\), found a tensor "
    wanted += rf"of shape .*{width}\)"
    with pytest.raises(dl.InputError, match=wanted):
        layer(torch.ones(5, 3), torch.zeros(5, 2))


def test_the_declared_width_solves_the_problem(tmp_path: Path) -> None:
    torch.manual_seed(0)
    decode = nn.Linear(2, 3).double()
    x, z0 = torch.randn(5, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    z = compiled(tmp_path, LOCAL)(decode=decode)(x, z0)
    W, b = decode.weight, decode.bias
    exact = torch.linalg.solve(W.mT @ W + torch.eye(2, dtype=W.dtype), W.mT @ (x - b).mT).mT
    torch.testing.assert_close(z, exact, rtol=1e-9, atol=1e-9)


class Norm(nn.Module):
    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        return x.norm(dim=-1) * s


class KeptNorm(nn.Module):
    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        return x.norm(dim=-1, keepdim=True) * s[..., None]


class Pair(nn.Module):
    def forward(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        return x, s


def test_a_scalar_result_has_the_batch_alone(tmp_path: Path) -> None:
    kind = compiled(tmp_path, CONVEX)
    x, s = torch.randn(4, 3, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    y = kind(shift=Norm())(x, s)
    torch.testing.assert_close(y, x - (x.norm(dim=-1, keepdim=True) * s) / 2, rtol=1e-9, atol=1e-9)
    with pytest.raises(dl.InputError, match=r"expected \(\*batch\) = \(4,\), found a tensor of shape \(4, 1\)"):
        kind(shift=KeptNorm())(x, s)
    with pytest.raises(dl.InputError, match="found a tuple"):
        kind(shift=Pair())(x, s)


def test_what_a_module_raises_keeps_its_type_and_names_the_extern(tmp_path: Path) -> None:
    layer = compiled(tmp_path, LOCAL)(decode=nn.Linear(7, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        layer(torch.ones(5, 3), torch.zeros(5, 2))
    note = raised_by_extern(caught.value)
    assert note is not None
    assert note.startswith("Decoded: extern `decode`, z[k] -> xhat[d], raised RuntimeError, given")


def test_the_command_line_blames_the_extern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_nets.py").write_text(
        "from torch import nn\n\n\nclass Broken(nn.Module):\n"
        "    def forward(self, z):\n        raise KeyError('codebook')\n"
    )
    (tmp_path / "program.opt").write_text(LOCAL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["program.opt", "--param", "x=[1, 2, 3]", "--param", "z0=[0, 0]"]
    for command in ("solve", "diagnose"):
        assert main([command, *words, "--extern", "decode=broken_nets:Broken"]) == 1
        told = capsys.readouterr().err
        assert "error[E706]: extern `decode`, z[k] -> xhat[d], raised KeyError" in told
        assert "'codebook'" in told
        assert "internal error" not in told
