"""Watching a layer while it trains: what became of its instances, at the cost of an append a call.

A call hands over what its solve has told anyway: status, iterations and residual of every instance. These tensors are
kept as they are and folded into totals every few calls, on the device that they are on: nothing waits for the device
before `Monitor.report` reads the totals. What a solve does not tell, the margin of strict complementarity and the
residual of a closed form, is measured in some of the calls, as many as take the share of the time that was asked for.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from declarative.runtime.conditions import strictly_complementary
from declarative.runtime.errors import InputError
from declarative.runtime.monitor_report import MonitorReport
from declarative.runtime.pullback import usable
from declarative.runtime.status import Status
from declarative.runtime.transforms import unwrapped, values_are_hidden
from declarative.runtime.verification import posed

if TYPE_CHECKING:
    from declarative.runtime.binding import Bound
    from declarative.runtime.layer import Layer
    from declarative.runtime.problem import Solved

CALLS, INSTANCES = 128, 1 << 18
"""Calls and instances that wait to be folded, at most."""


class Call(NamedTuple):
    """What one call told: its number, and per instance (*batch) its status, iterations, residual and whether one of its
    inequalities is weakly active; None where that was not measured."""

    number: int
    status: Tensor
    iterations: Tensor
    residual: Tensor
    weak: Tensor | None


@dataclass(frozen=True)
class Totals:
    """Sums over calls on one device. ``counts`` (7,), by status; all others are single numbers, as tensors."""

    counts: Tensor
    iterations: Tensor
    most_iterations: Tensor
    worst_residual: Tensor
    """The largest of a solved instance, and -1 where none is known."""
    worst_call: Tensor
    failed_calls: Tensor
    last_failed_call: Tensor
    weakly_active: Tensor

    def plus(self, other: Totals) -> Totals:
        """Of these calls and later ones."""
        worse = other.worst_residual > self.worst_residual
        return Totals(
            counts=self.counts + other.counts,
            iterations=self.iterations + other.iterations,
            most_iterations=torch.maximum(self.most_iterations, other.most_iterations),
            worst_residual=torch.maximum(self.worst_residual, other.worst_residual),
            worst_call=torch.where(worse, other.worst_call, self.worst_call),
            failed_calls=self.failed_calls + other.failed_calls,
            last_failed_call=torch.maximum(self.last_failed_call, other.last_failed_call),
            weakly_active=self.weakly_active + other.weakly_active,
        )


class Monitor:
    """A handle on what a layer has done since it was made: by `Layer.monitor`, and usable in a ``with`` statement.

    It sees every call of ``layer(...)`` and ``layer.solve(...)`` until it is closed, or no longer held by anyone. A
    copy of the layer, by ``deepcopy`` or pickle, is not watched; a copy of the monitor keeps its numbers and watches
    nothing. Reading a report waits for the device, nothing else does.
    """

    def __init__(self, layer: Layer, sample: float = 0.01) -> None:
        if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 <= sample <= 1:
            raise InputError(f"{type(layer).__name__}: sample is {sample!r}; expected a share of the time, from 0 to 1")
        self._name, self._sample = type(layer).__name__, sample
        self._layer: weakref.ref[Layer] | None = weakref.ref(layer)
        self._lock = Lock()
        self._cost, self._sampled = 0.0, -torch.inf
        self.reset()
        layer._monitors = (*(ref for ref in layer._monitors if ref() is not None), weakref.ref(self))

    def report(self) -> MonitorReport:
        """The numbers so far."""
        with self._lock:
            self._fold()
            totals = [Totals(**{k: t.cpu() for k, t in vars(each).items()}) for each in self._totals.values()]
            return _reported(self._name, self._calls, self._unseen, self._sure, self._measured, totals)

    def reset(self) -> None:
        """Forget all numbers and count from here."""
        with self._lock:
            self._calls = self._unseen = self._sure = self._measured = self._waiting = 0
            self._pending: list[Call] = []
            self._totals: dict[torch.device, Totals] = {}

    def close(self) -> None:
        """Stop watching; the numbers stay."""
        layer = self._layer() if self._layer is not None else None
        if layer is not None:
            layer._monitors = tuple(ref for ref in layer._monitors if ref() not in (None, self))
        self._layer = None

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<monitor of {self._name}, {'closed' if self._layer is None else 'open'}, {self._calls} calls>"

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            self._fold()
            return {name: value for name, value in vars(self).items() if name != "_lock"} | {"_layer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=Lock())

    def record(self, layer: Layer, bound: Bound | None, solved: Solved | None) -> None:
        """Take note of a call; ``solved`` is None where a closed form has solved all of ``bound``, and ``bound`` where
        a compiled graph has called the solver."""
        with self._lock:
            self._calls += 1
            if solved is not None and values_are_hidden(solved.status):
                self._unseen += 1
                return
            measured = self._measured_now(layer, bound, solved) if bound is not None and self._due() else None
            if solved is not None or measured is not None:
                self._keep(_call(self._calls, layer, solved, measured))
            elif bound is not None:
                self._sure += bound.batch.numel()

    def _due(self) -> bool:
        """Whether measuring as long as the last time takes no more than its share of what has passed since."""
        return self._sample == 1 or self._cost < self._sample * (perf_counter() - self._sampled)

    def _measured_now(self, layer: Layer, bound: Bound, solved: Solved | None) -> tuple[Tensor, Tensor]:
        begun = perf_counter()
        with torch.no_grad():
            measured = _measured(layer, bound, solved)
        self._sampled = perf_counter()
        self._cost = self._sampled - begun
        return measured

    def _keep(self, call: Call) -> None:
        count = call.status.numel()
        if not count:
            return
        self._measured += 0 if call.weak is None else count
        self._waiting += count
        self._pending.append(call)
        if len(self._pending) >= CALLS or self._waiting >= INSTANCES:
            self._fold()

    def _fold(self) -> None:
        """Bring what waits into the totals, device by device."""
        if not self._pending:
            return
        pending, self._pending, self._waiting = self._pending, [], 0
        for device in {call.status.device: None for call in pending}:
            with torch.no_grad():
                new = _totals([call for call in pending if call.status.device == device])
                before = self._totals.get(device)
                self._totals[device] = new if before is None else before.plus(new)


def watched(layer: Layer, bound: Bound | None, solved: Solved | None) -> None:
    """Tell the monitors of a layer of a call; see `Monitor.record`."""
    for ref in layer._monitors:
        monitor = ref()
        if monitor is not None:
            monitor.record(layer, bound, solved)


def _call(number: int, layer: Layer, solved: Solved | None, measured: tuple[Tensor, Tensor] | None) -> Call:
    residual, weak = (None, None) if measured is None else measured
    if solved is None:  # by a closed form, that is
        assert residual is not None
        status = torch.zeros_like(residual, dtype=torch.int8)
        iterations = status.to(torch.int32)
    else:
        status, iterations = unwrapped(solved.status), unwrapped(solved.iterations)
        if layer.solution is None:
            residual = unwrapped(solved.residual).detach()
        elif residual is None:
            residual = torch.full_like(status, torch.nan, dtype=torch.float64)
    return Call(number, status, iterations, residual, weak)


def _measured(layer: Layer, bound: Bound, solved: Solved | None) -> tuple[Tensor, Tensor]:
    """Residual, and whether an inequality is weakly active, which it is not where there is no point; both (*batch)."""
    if layer.solution is None:
        assert solved is not None
        problem, point, residual = layer._problem(bound), solved.point, solved.residual
    else:
        at = layer._closed_form_point(bound) if solved is None else solved.point
        problem, point = posed(layer, bound, at)
        residual = problem.relative_residual(point)
    margin = problem.complementarity(point)[0]
    weak = ~strictly_complementary(margin, residual) & margin.isfinite()
    if solved is not None:
        weak = weak & usable(solved.status)
    residual, weak = (unwrapped(t).expand(bound.batch) for t in (residual, weak))
    return residual, weak


def _totals(calls: list[Call]) -> Totals:
    """Of calls on one device, without a look at their values."""
    status = torch.cat([call.status.flatten() for call in calls]).to(torch.int64)
    iterations = torch.cat([call.iterations.flatten() for call in calls])
    residual = torch.cat([call.residual.detach().flatten() for call in calls]).double()
    sizes = torch.tensor([call.status.numel() for call in calls])
    place = torch.arange(len(calls)).repeat_interleave(sizes).to(status.device, non_blocking=True)
    numbers = torch.tensor([call.number for call in calls], device=status.device)
    ok = usable(status)
    worst, at = torch.where(ok & residual.isfinite(), residual, -1).max(0)
    failures = torch.zeros_like(numbers).index_add_(0, place, (~ok).to(torch.int64))
    weak = [call.weak.flatten() for call in calls if call.weak is not None]
    return Totals(
        counts=(status[:, None] == torch.arange(len(Status), device=status.device)).sum(0),
        iterations=iterations.sum(dtype=torch.int64),
        most_iterations=iterations.max().to(torch.int64),
        worst_residual=worst,
        worst_call=numbers.index_select(0, place.index_select(0, at[None]))[0],
        failed_calls=(failures > 0).sum(),
        last_failed_call=torch.where(failures > 0, numbers, 0).max(),
        weakly_active=torch.cat(weak).sum() if weak else torch.zeros_like(at),
    )


def _reported(name: str, calls: int, unseen: int, sure: int, measured: int, devices: list[Totals]) -> MonitorReport:
    """The totals of all devices as numbers; ``sure`` instances more were solved without iterations."""
    counts = [sum(int(t.counts[status]) for t in devices) for status in Status]
    counts[Status.SOLVED] += sure
    worst = max(devices, key=lambda t: float(t.worst_residual), default=None)
    known = worst is not None and float(worst.worst_residual) >= 0
    return MonitorReport(
        layer=name,
        calls=calls,
        unseen=unseen,
        counts={status.label: counts[status] for status in Status},
        failed_calls=sum(int(t.failed_calls) for t in devices),
        last_failed_call=max((int(t.last_failed_call) for t in devices), default=0) or None,
        iterations=sum(int(t.iterations) for t in devices) / max(sum(counts), 1),
        most_iterations=max((int(t.most_iterations) for t in devices), default=0),
        worst_residual=float(worst.worst_residual) if worst is not None and known else None,
        worst_call=int(worst.worst_call) if worst is not None and known else None,
        weakly_active=sum(int(t.weakly_active) for t in devices),
        measured=measured,
    )
