"""What a monitor counts, against a tally by hand, `layer.solve` and `layer.diagnose`; and what it leaves alone."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

import declarative as dl
from declarative.runtime import monitor as watching
from declarative.runtime.problem import Solved
from tests.conformance.cases import CASES, Case

F64 = torch.float64

ALLOCATION = """layer allocation
dim n
param gain[n]
param cap nonneg
var share[n]
maximize gain' @ share - 1/2 * sum_squares(share){more}
subject to
  budget: sum(share) == 1
  limits: 0 <= share <= cap
"""
QP = ALLOCATION.format(more=" - 0.3 * (share[0] - share[1])^2")
CLOSED = ALLOCATION.format(more="")
CONE = "layer ball\nparam c[3]\nparam r\nvar x[3]\nminimize c' @ x\nsubject to\n  norm2(x) <= r\n  x[2] >= -0.6\n"
LOCAL = """layer hill
param c[2]
param r
var x[2] from 0.1
minimize locally c' @ x + sum_squares(x) + x[0]^4
subject to
  x >= r
"""
ROOT = "layer root\nparam c[2]\nvar x[2] from 0\nsolve\n  x + 0.5 * tanh(x) == c\n"
SPARSEMAX = (
    "layer sparsemax\ndim n\nparam x[n]\nvar y[n] nonneg\nminimize sum_squares(y - x)\nsubject to\n  sum(y) == 1\n"
)


def allocations(count: int = 12) -> tuple[Tensor, Tensor]:
    """Gains and caps, of which every third cap is too low for the shares to add up."""
    gains = torch.randn(count, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    caps = torch.full((count,), 0.6, dtype=F64)
    caps[::3] = 0.1
    return gains, caps


@pytest.mark.parametrize("program", [QP, CLOSED], ids=["solved", "closed_form"])
def test_the_numbers_are_those_of_the_solves(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "CALLS", 3)  # so that several folds, and a remainder, make the totals
    layer = dl.compile(program)(on_failure="nan")
    gains, caps = allocations()
    gains[4] = torch.nan
    monitor = layer.monitor(sample=0)
    tally: Counter[str] = Counter()
    iterations, residuals, failed = [], [], []
    for call in range(1, 8):
        rows = slice(0, 12) if call % 2 else slice(1, 3)  # the latter are all solvable
        layer(gains[rows], caps[rows])
        told = copy.deepcopy(layer).solve(gains[rows], caps[rows])
        tally.update(dl.Status(s).label for s in told.status.tolist())
        iterations += told.iterations.tolist()
        residuals.append(told.residuals[told.solved].max().item())
        failed += [call] if not told.solved.all() else []
    report = monitor.report()
    assert {label: count for label, count in report.counts.items() if count} == dict(tally)
    assert (report.calls, report.instances) == (7, sum(tally.values()))
    assert (report.failed, report.failed_calls, report.last_failed_call) == (4 * 5, 4, 7)
    assert failed == [1, 3, 5, 7]
    assert report.most_iterations == max(iterations)
    assert report.iterations == pytest.approx(sum(iterations) / len(iterations))
    if program is QP:
        assert report.worst_residual == max(residuals)
        assert report.worst_call == 1 + residuals.index(max(residuals))


def test_a_call_that_raises_is_counted() -> None:
    layer = dl.compile(QP)()
    monitor = layer.monitor()
    with pytest.raises(dl.SolveError) as caught:
        layer(*allocations())
    assert caught.value.solved is not None
    assert caught.value.solved.status.tolist() == [2, 0, 0] * 4
    assert monitor.report().counts["infeasible"] == 4
    assert monitor.report().counts["solved"] == 8


@pytest.mark.parametrize(
    ("program", "weak", "strict"),
    [
        (QP.replace("- 0.3 * (share[0] - share[1])^2", "- 0.3 * share[3]^2"), ([1.0, 1.0, 0.5, -3.0], 0.6), None),
        (CLOSED, ([1.0, 1.0, 0.5, -3.0], 0.6), ([1.0, 1.0, 0.4, -3.0], 0.6)),
        (CONE, ([0.8, 0.0, 0.6], 1.0), ([0.6, 0.0, 0.8], 1.0)),
        (LOCAL, ([0.0, 1.0], 0.0), ([1.0, 1.0], 0.0)),
        (SPARSEMAX, ([1.0, 0.0, -3.0],), ([1.0, 0.5, -3.0],)),
    ],
    ids=["dense_qp", "capped_simplex", "cone_program", "smooth_local", "simplex_projection"],
)
def test_weakly_active_instances_are_those_of_diagnose(program: str, weak: tuple, strict: tuple | None) -> None:
    layer = dl.compile(program)()
    monitor = layer.monitor(sample=1)
    for arguments in (weak, strict or weak):
        given = tuple(torch.tensor(a, dtype=F64) for a in arguments)
        report = layer.diagnose(*given)
        layer(*given)
        diagnosed = any("weakly active" in text for text in report.meaning[0])
        assert diagnosed is (arguments is weak)
    found = monitor.report()
    assert (found.weakly_active, found.measured) == (1 if strict else 2, 2)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_structure_is_watched_and_nothing_changes(case: Case) -> None:
    layer, data = case.layer(), case.data(0, (3,))
    before = case.named(layer(**data))
    monitor = layer.monitor(sample=1)
    after = case.named(layer(**data))
    assert all(torch.equal(before[name], after[name]) for name in before)
    report = monitor.report()
    assert (report.counts["solved"], report.instances, report.measured) == (3, 3, 3)
    assert report.worst_residual is not None
    assert report.worst_residual < 1e-6


def test_a_copy_is_not_watched() -> None:
    layer = dl.compile(QP)(on_failure="nan")
    monitor = layer.monitor()
    layer(*allocations())
    for other in (copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        other(*allocations())
    assert monitor.report().calls == 1
    for kept in (copy.deepcopy(monitor), pickle.loads(pickle.dumps(monitor))):
        assert kept.report() == monitor.report()
        kept.close()
    layer(*allocations())
    assert monitor.report().calls == 2


def test_close_reset_and_the_with_statement() -> None:
    layer = dl.compile(QP)(on_failure="nan")
    outer = layer.monitor()
    with layer.monitor() as inner:
        layer(*allocations())
    layer(*allocations())
    assert (inner.report().calls, outer.report().calls) == (1, 2)
    outer.reset()
    assert outer.report() == layer.monitor().report()
    del inner
    outer.close()
    layer(*allocations())
    assert outer.report().calls == 0


@pytest.mark.parametrize("program", [QP, CLOSED], ids=["solved", "closed_form"])
def test_a_compiled_graph_is_watched_when_it_runs(program: str) -> None:
    layer = dl.compile(program)(on_failure="nan")
    gains, caps = allocations()
    gains[4] = torch.nan
    gains.requires_grad_()
    expected = layer(gains, caps)
    (exact,) = torch.autograd.grad(expected.nansum(), gains)
    monitor = layer.monitor()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        shares = compiled(gains, caps)
    torch.testing.assert_close(shares, expected, equal_nan=True)
    torch.testing.assert_close(torch.autograd.grad(shares.nansum(), gains)[0], exact)
    counts = monitor.report().counts
    assert {label: count for label, count in counts.items() if count} == {
        "solved": 14,
        "infeasible": 8,
        "not_finite": 2,
    }


def test_under_function_transforms() -> None:
    layer = dl.compile(QP)()
    gains, caps = (t[1:3] for t in allocations())
    monitor = layer.monitor(sample=1)
    torch.func.vmap(layer)(gains, caps)
    gradient = torch.func.grad(lambda g: layer(g, caps)[0, 0])(gains)
    assert gradient.abs().max() > 0
    report = monitor.report()
    assert (report.calls, report.unseen, report.instances, report.measured) == (2, 1, 2, 2)


def test_a_call_reads_nothing_from_the_device() -> None:
    """Tensors on the meta device have no values: whatever read one would raise, as it would wait on an accelerator."""
    layer = dl.compile(QP)()
    monitor = layer.monitor(sample=1)
    bound = layer.bind(*allocations())
    bound = dataclasses.replace(bound, values=tuple(value.to("meta") for value in bound.values))
    sizes = (4, 1, 0, 4)
    told = torch.zeros(12, device="meta")
    solved = Solved(tuple(told.new_empty(12, size) for size in sizes), told.to(torch.int8), told.to(torch.int32), told)
    for _ in range(watching.CALLS + 1):
        monitor.record(layer, bound, solved)
    assert len(monitor._pending) == 1
    with pytest.raises((NotImplementedError, RuntimeError)):
        monitor.report()


def test_a_batch_of_none_and_a_scalar_call() -> None:
    layer = dl.compile(QP)()
    monitor = layer.monitor(sample=1)
    gains, caps = allocations()
    layer(gains[:0], caps[:0])
    layer(gains[1], caps[1])
    assert (monitor.report().calls, monitor.report().instances) == (2, 1)


def test_the_table_tells_what_there_is() -> None:
    layer = dl.compile(QP)(on_failure="nan")
    monitor = layer.monitor(sample=1)
    assert str(monitor.report()).splitlines() == ["Allocation", "  instances  0  in 0 calls"]
    layer(*allocations())
    text = str(monitor.report())
    assert "infeasible" in text
    assert "33.3%" in text
    assert "the last was call 1" in text
    assert "unbounded" not in text
    assert "<td>infeasible</td>" in monitor.report()._repr_html_()


def test_a_sample_is_a_share() -> None:
    layer = dl.compile(QP)()
    for wrong in (-1, 2, True, "often"):
        with pytest.raises(dl.InputError, match=r"Allocation: sample is .*expected a share of the time, from 0 to 1"):
            layer.monitor(sample=wrong)


def test_it_stands_inside_of_a_model() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = dl.compile(QP)(on_failure="nan")
            self.monitor = self.layer.monitor()

        def forward(self, gains: Tensor, caps: Tensor) -> Tensor:
            shares: Tensor = self.layer(gains, caps)
            return shares

    model = Model()
    model(*allocations())
    other = copy.deepcopy(model)
    other(*allocations())
    assert (model.monitor.report().calls, other.monitor.report().calls) == (1, 1)
