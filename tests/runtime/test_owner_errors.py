"""What a constructor refuses, by name; how a layer prints; and a learned zero, which training can leave."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import declarative as dl

TEXT = """layer lasso
dim n
param x[n]
param lam nonneg learned
var y[n]

minimize 1/2 * sum_squares(y - x) + lam * norm1(y)
output y
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("owner") / "lasso.opt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def kind(path: Path) -> type[dl.Layer]:
    return dl.compile(path)


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("lam", "x", "expected a tensor or numbers"),
        ("lam", float("nan"), "holds NaN"),
        ("tolerance", "a", "expected a positive number"),
        ("tolerance", -1, "expected a positive number"),
        ("max_iterations", "3", "expected a whole number, at least 1"),
        ("max_iterations", 0, "expected a whole number, at least 1"),
        ("on_failure", "ignore", "expected 'raise' or 'nan'"),
        ("check_inputs", "yes", "expected True or False"),
    ],
)
def test_a_wrong_keyword_is_named(kind: type[dl.Layer], keyword: str, value: Any, expected: str) -> None:
    with pytest.raises(dl.InputError, match=f"{keyword}.*{expected}"):
        kind(**{keyword: value})


def test_values_without_a_name_are_refused(kind: type[dl.Layer]) -> None:
    with pytest.raises(dl.InputError, match="takes keywords only, found 1"):
        kind(1.0)


@pytest.mark.parametrize("size", ["3", -3, 2.5, True])
def test_a_size_that_is_no_size(path: Path, size: Any) -> None:
    with pytest.raises(dl.DiagnosticError, match="`n` is"):
        dl.compile(path, n=size)


def test_compile_of_nothing() -> None:
    with pytest.raises(TypeError, match="found NoneType"):
        dl.compile(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_learned_zero_is_trained_away_from_it(kind: type[dl.Layer], dtype: torch.dtype) -> None:
    layer = kind(lam=torch.zeros((), dtype=dtype))
    assert float(layer.lam.detach()) == pytest.approx(1e-8, rel=1e-3)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.5)
    x = torch.tensor([2.0, -3.0], dtype=dtype)
    for _ in range(120):
        optimiser.zero_grad()
        (layer(x).abs().sum() - 4).square().backward()
        optimiser.step()
    assert float(layer.lam.detach()) == pytest.approx(0.5, abs=0.1)


def test_a_layer_prints_on_one_line(kind: type[dl.Layer]) -> None:
    assert repr(kind()) == "Lasso(x[n]; learned lam)"
    assert repr(nn.Sequential(kind())) == "Sequential(\n  (0): Lasso(x[n]; learned lam)\n)"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("tolerance", "x", "a positive number"),
        ("tolerance", -1, "a positive number"),
        ("max_iterations", 0, "a whole number, at least 1"),
        ("check_inputs", "yes", "True or False"),
        ("on_failure", "ignore", "'raise' or 'nan'"),
        ("warm_start", 1, "True or False"),
        ("smooth", None, "a number, at least 0"),
    ],
)
def test_a_wrong_setting_is_refused_where_it_is_set(kind: type[dl.Layer], name: str, value: Any, expected: str) -> None:
    layer = kind()
    before = getattr(layer, name)
    with pytest.raises(dl.InputError, match=f"{name} is {value!r}; expected {expected}"):
        setattr(layer, name, value)
    assert getattr(layer, name) == before
    with pytest.raises(dl.InputError, match=f"{name} is {value!r}; expected {expected}"):
        kind(**{name: value})


def test_none_leaves_the_solver_its_own_tolerance(kind: type[dl.Layer]) -> None:
    layer = kind(tolerance=1e-3)
    layer.tolerance, layer.max_iterations = None, None
    assert layer.tolerance is None
    assert kind(tolerance=None).tolerance is None


DIAGONAL = """layer diagonal
dim n
param x[n]
param rho nonneg
param D[n, n] diag learned
var y[n]
minimize sum_squares(D @ y - x) + rho * sum_squares(y)
output y
"""


def test_a_learned_matrix_is_not_set_from_a_vector() -> None:
    layer = dl.compile(DIAGONAL)(n=3)
    with pytest.raises(dl.InputError, match=r"`D` has shape \(3,\); expected \(3, 3\)"):
        layer.D = torch.ones(3)
    with pytest.raises(dl.InputError, match="expected a tensor or numbers"):
        layer.D = "x"
    layer.D = 2 * torch.eye(3)
    torch.testing.assert_close(layer.D, 2 * torch.eye(3))


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.eye(3).to_sparse(), r"`x` is sparse; expected a dense tensor: x.to_dense\(\)"),
        (torch.empty(3, device="meta"), "`x` is on the meta device"),
    ],
    ids=["sparse", "meta"],
)
def test_tensors_without_plain_numbers(x: Tensor, said: str) -> None:
    with pytest.raises(dl.InputError, match=said):
        dl.compile(DIAGONAL)(n=3)(x, torch.tensor(1.0))


def test_a_column_of_numbers_that_meets_a_batch_is_warned_of() -> None:
    layer = dl.compile(DIAGONAL)(n=3)
    x, rho = torch.ones(5, 3), torch.rand(5, 1)
    with pytest.warns(UserWarning, match=r"all pairs of instances, \(5, 5\).*write rho.squeeze\(-1\)"):
        assert layer(x, rho).shape == (5, 5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert layer(x, rho.squeeze(-1)).shape == (5, 3)
        assert layer(x[None], rho).shape == (5, 5, 3)  # said so
        assert layer(x, torch.rand(4, 1)).shape == (4, 5, 3)  # a grid


def test_an_extern_of_another_dtype_is_named() -> None:
    text = "layer e\nparam a[2]\nextern f(z[2]) -> u[2] smooth\nvar z[2] from a\nsolve\n  z == f(z) + a\noutput z\n"
    layer = dl.compile(text)(f=nn.Linear(2, 2))
    with pytest.raises(dl.InputError, match=r"extern `f` is given torch.float64 on cpu, but its weight `\w+` is torch"):
        layer(torch.zeros(2, dtype=torch.float64))
