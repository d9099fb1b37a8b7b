"""What layers with a closed form say of answers that are none, of empty vectors and of masked entries."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import declarative as dl
from declarative.runtime.native import library

ROWS = {
    "softmax": ("maximize x @ y + sum(entr(y))", "sum(y) == 1", "nonneg"),
    "sparsemax": ("minimize sum_squares(y - x)", "sum(y) == 1", "nonneg"),
    "entmax": ("maximize x @ y - 4/3 * sum(y^1.5)", "sum(y) == 1", "nonneg"),
    "capped simplex": ("minimize sum_squares(y - x)", "sum(y) == 1.5\n  0 <= y <= 1", ""),
    "capped softmax": ("maximize x @ y + sum(entr(y))", "sum(y) == 1\n  y <= 0.6", "nonneg"),
    "budget in a box": ("minimize sum_squares(y - x)", "sum(y) <= 1\n  0 <= y <= 1", ""),
    "between": ("minimize sum_squares(y - x)", "1 <= sum(y)\n  sum(y) <= 2\n  0 <= y <= 1", ""),
}
MASKING = [name for name in ROWS if name not in ("entmax", "softmax")]


@pytest.fixture(params=["kernels", "torch"], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch":
        monkeypatch.setattr(library, "serves", lambda tensors: False)


def layer_of(name: str) -> Any:
    objective, constraints, attribute = ROWS[name]
    declared = f"layer projected\ndim n\nparam x[n]\nvar y[n] {attribute}\n"
    return dl.compile(dl.parse_program(f"{declared}{objective}\nsubject to\n  {constraints}\noutput y"))


def labels(status: Tensor) -> list[str]:
    return [dl.Status(code).label for code in status.flatten().tolist()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ROWS)
def test_right_answers_are_solved_however_large_their_data(name: str, dtype: torch.dtype) -> None:
    layer, generator = layer_of(name)(), torch.Generator().manual_seed(0)
    for scale, offset in ((1e-6, 0.0), (1e3, 0.0), (1e9, 0.0), (1e20, 0.0), (1.0, 1e4), (1.0, 1e7)):
        x = (torch.randn(32, 8, generator=generator, dtype=torch.float64) * scale + offset).to(dtype)
        solution = layer.solve(x)
        assert set(labels(solution.status)) == {"solved"}, (scale, offset)
        assert float(solution.residuals.amax()) < 100 * torch.finfo(dtype).eps
        assert labels(layer.diagnose(x).status) == ["solved"] * 32


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(("wrong", "status"), [(0.1, "inaccurate"), (math.inf, "not_finite"), (1e-13, "solved")])
def test_a_wrong_answer_is_not_called_solved(name: str, wrong: float, status: str) -> None:
    kind = layer_of(name)

    class Wrong(kind):  # type: ignore[misc]
        primal = None

        def solution(self, *parameters: Tensor) -> Any:
            point = super().solution(*parameters)
            if wrong == math.inf:  # finite where `forward` looks, and without a residual
                return type(point)(point[0] * 0 + 1e308, *point[1:])
            return type(point)(point[0] + wrong * (torch.arange(3) == 1), *point[1:])

    x = torch.tensor([[0.5, 0.25, 0.0], [3.0, -1.0, 0.5]], dtype=torch.float64)
    layer = Wrong()
    if wrong == math.inf:
        assert "solved" not in labels(layer.solve(x).status)
        return
    assert labels(layer.solve(x).status) == [status] * 2
    report = layer.diagnose(x)
    assert labels(report.status) == [status] * 2
    assert bool((report.kkt_residual > 1e-3).all()) == (status != "solved")
    if status == "inaccurate":
        assert not report.holds.any()
        assert "breaks the conditions of a solution" in report.meaning[0][0]


@pytest.mark.parametrize("name", ROWS)
def test_without_entries_a_sum_that_must_be_positive_is_infeasible(name: str) -> None:
    layer = layer_of(name)()
    expected = "solved" if name == "budget in a box" else "infeasible"
    for batch in ((), (3,), (0,)):
        x = torch.zeros(*batch, 0)
        count = math.prod(batch)
        assert labels(layer.solve(x).status) == [expected] * count
        assert labels(layer.diagnose(x).status) == [expected] * count
        if expected == "infeasible" and count:
            with pytest.raises(dl.SolveError, match="infeasible"):
                layer(x)
            assert layer_of(name)(on_failure="nan")(x).shape == x.shape
        else:
            assert layer(x).shape == x.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ROWS)
def test_a_masked_entry_is_left_out(name: str, dtype: torch.dtype) -> None:
    layer = layer_of(name)()
    x = torch.tensor([[0.3, -math.inf, 0.5, 0.1], [-math.inf, 0.2, 0.4, -math.inf]], dtype=dtype)
    bar = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=dtype)
    leaf = x.clone().requires_grad_()
    y = layer(leaf)
    (gradient,) = torch.autograd.grad((y * bar).sum(), leaf)
    for row in range(2):
        kept = x[row].isfinite()
        alone = x[row, kept].requires_grad_()
        expected = layer(alone)
        torch.testing.assert_close(y[row, kept], expected)
        torch.testing.assert_close(gradient[row, kept], torch.autograd.grad((expected * bar[kept]).sum(), alone)[0])
        assert y[row, ~kept].tolist() == gradient[row, ~kept].tolist() == [0] * int((~kept).sum())
    solution = layer.solve(x)
    assert labels(solution.status) == ["solved"] * 2
    assert float(solution.residuals.amax()) < 20 * torch.finfo(dtype).eps
    assert labels(layer.diagnose(x).status) == ["solved"] * 2


@pytest.mark.parametrize("name", ["softmax", "sparsemax", "entmax", "capped simplex"])
def test_nothing_but_masks_has_no_answer_and_infinity_is_none(name: str) -> None:
    layer = layer_of(name)()
    x = torch.tensor([[-math.inf] * 3, [0.3, math.inf, 0.0], [0.3, 0.2, -math.inf]])
    assert labels(layer.solve(x).status) == ["not_finite", "not_finite", "solved"]
    with pytest.raises(dl.SolveError, match="not_finite"):
        layer(x)
    layer.on_failure = "nan"
    y = layer(x)
    assert y[:2].isnan().all()
    assert y[2].isfinite().all()
