"""Rows about instances without an answer: statuses, messages, NaN rows, zero gradients, and the rest untouched."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.matrix.measure import all_close, close, cotangents, gradients, leaves, weigh
from tests.conformance.matrix.property import property_of
from tests.conformance.matrix.subject import Data, Setting, outputs

SIZE, BAD = 5, 2


def assert_policy(setting: Setting, batch: Data, status: dl.Status, message: str) -> None:
    """Everything that is promised of a batch whose instance `BAD` ends in a status and no other does."""
    layer = setting.layer()
    solution = layer.solve(**batch)
    found = [dl.Status(int(code)) for code in solution.status]
    assert found == [status if i == BAD else dl.Status.SOLVED for i in range(SIZE)]
    assert solution.solved.tolist() == [i != BAD for i in range(SIZE)]
    with pytest.raises(dl.SolveError) as raised:
        outputs(layer, batch)
    told = str(raised.value)
    assert f"1 of {SIZE} instances" in told
    assert re.search(
        rf"instance {BAD}: {status.label}, residual \S+( after [1-9]\d* iterations)?$", told, re.MULTILINE
    ), told
    assert not re.search(rf"instance [^{BAD}]:", told), told
    assert 'on_failure = "nan"' in told
    assert "layer.solve" in told
    assert re.search(message, told), told

    values, found = assert_others_are_exact(setting, batch)
    assert all(bool(v[BAD].isnan().all()) for v in values)
    for name in batch:
        assert bool((found[name][BAD] == 0).all()), f"gradient of {name} in the bad row"


def assert_others_are_exact(setting: Setting, batch: Data, looks_away: bool = True) -> tuple[list[Tensor], Data]:
    """All instances but `BAD` have the outputs and gradients that they have without it; what the batch came to.

    ``looks_away``: the loss reaches the bad row too, past its NaN, as that of a user may.
    """
    layer = setting.layer(on_failure="nan")
    keep = [i for i in range(SIZE) if i != BAD]
    good = leaves({name: value[keep] for name, value in batch.items()})
    wanted = outputs(layer, good)
    weights = cotangents(wanted)
    targets = leaves(batch)
    values = outputs(layer, targets)
    all_close([v[keep] for v in values], wanted, setting.accuracy / 10, "output of the others")
    total = weigh([v[keep] for v in values], weights)
    if looks_away:
        total = total + torch.stack([v[BAD].nan_to_num().sum() for v in values]).sum()
    owned = dict(layer.named_parameters())
    found = gradients(total, targets | owned)
    expected = gradients(weigh(wanted, weights), good | owned)
    for name, gradient in found.items():
        rows = gradient[keep] if name in batch else gradient
        close(rows, expected[name], setting.accuracy, f"gradient of {name} in the others")
    return [v.detach() for v in values], found


@property_of("NaN")
def not_a_number(setting: Setting) -> None:
    """NaN in any parameter of one instance: status `not_finite`, and the error names it; under `"nan"` its row is NaN
    with zero gradient and the others are exact; `solve` never raises."""
    for name in setting.data():
        batch = setting.batch(SIZE)
        batch[name].view(SIZE, -1)[BAD, 0] = torch.nan
        assert_policy(setting, batch, dl.Status.NOT_FINITE, f"`{name}` is not finite in instance {BAD}")


@property_of("infinity")
def infinity(setting: Setting) -> None:
    """An infinity in any parameter of one instance is a limit, such as no bound, or the instance has no answer and says
    so; the others are exact either way."""
    for name in setting.data():
        for value in (torch.inf, -torch.inf):
            batch = setting.batch(SIZE)
            batch[name].view(SIZE, -1)[BAD, 0] = value
            reached = [dl.Status(int(code)) for code in setting.layer().solve(**batch).status]
            assert all(status is dl.Status.SOLVED for i, status in enumerate(reached) if i != BAD)
            values, _ = assert_others_are_exact(setting, batch, looks_away=False)
            if reached[BAD].usable:
                assert bool(values[0][BAD].isfinite().all())
                assert not any(bool(v[BAD].isnan().any()) for v in values)
            else:
                assert all(bool(v[BAD].isnan().all()) for v in values)


def may_fail(setting: Setting) -> str:
    return "" if setting.subject.failing else "it has a solution whatever the data"


@property_of("no solution", may_fail)
def no_solution(setting: Setting) -> None:
    """One instance that is infeasible or unbounded, with the same consequences."""
    for label, values in setting.subject.failing.items():
        batch = setting.batch(SIZE)
        for name, value in values.items():
            batch[name][BAD] = torch.as_tensor(value, dtype=setting.dtype)
        assert_policy(setting, batch, dl.Status[label.upper()], "")


def iterates(setting: Setting) -> str:
    return "" if setting.subject.iterated else "nothing is iterated"


@property_of("iteration limit", iterates)
def iteration_limit(setting: Setting) -> None:
    """Stopped after one iteration, an instance is solved or it says that it is not, and its gradient is zero."""
    layer, batch = setting.layer(max_iterations=1), setting.batch(SIZE)
    solution = layer.solve(**batch)
    reached = [dl.Status(int(code)) for code in solution.status]
    assert {*reached} <= {dl.Status.SOLVED, dl.Status.INACCURATE, dl.Status.MAX_ITERATIONS}
    exact = outputs(setting.layer(), batch)
    layer.on_failure = "nan"
    targets = leaves(batch)
    values = outputs(layer, targets)
    found = gradients(weigh([v.nan_to_num() for v in values], cotangents(values)), targets)
    for i, status in enumerate(reached):
        if status.usable:
            all_close([v[i] for v in values], [v[i] for v in exact], 10 * setting.accuracy, f"output of instance {i}")
        else:
            assert all(bool(v[i].isnan().all()) for v in values)
            assert all(bool((g[i] == 0).all()) for g in found.values())
    if not all(status.usable for status in reached):
        layer.on_failure = "raise"
        with pytest.raises(dl.SolveError, match=r"max_iterations, residual \S+ after 1 iterations"):
            outputs(layer, batch)


FAILURES = (not_a_number, infinity, no_solution, iteration_limit)
