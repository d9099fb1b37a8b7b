"""What a monitor has counted, as data, and as a table for people."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from declarative.runtime.status import Status


@dataclass(frozen=True)
class MonitorReport:
    """Counts over the calls of a layer since its monitor was made or reset.

    ``calls``, of which ``unseen`` ran inside of ``torch.func.vmap``, where values are hidden, and count nowhere else.
    ``counts``: instances by the label of their status, every label. ``failed_calls``: calls with an instance that was
    not solved, and the number of the last one, from 1, or None. ``iterations``: mean per instance, and
    ``most_iterations`` the largest. ``worst_residual``: the largest relative residual among the solved instances, and
    the number of its call; None where none was measured. ``weakly_active``: of the ``measured`` instances (a sample of
    the calls), those whose gradient is one of several, since an inequality has neither multiplier nor slack.
    """

    layer: str
    calls: int
    unseen: int
    counts: Mapping[str, int]
    failed_calls: int
    last_failed_call: int | None
    iterations: float
    most_iterations: int
    worst_residual: float | None
    worst_call: int | None
    weakly_active: int
    measured: int

    @property
    def instances(self) -> int:
        """All instances that were seen."""
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        """Instances that had no answer."""
        return sum(self.counts[status.label] for status in Status if not status.usable)

    def rows(self) -> list[tuple[str, str, str]]:
        """What is told, its number, and what there is to say of it; one row each, zeros left out."""
        told = [("instances", f"{self.instances}", f"in {_calls(self.calls - self.unseen)}")]
        told += [(label, f"{count}", _share(count, self.instances)) for label, count in self.counts.items() if count]
        if self.failed_calls:
            told.append(("calls with a failure", f"{self.failed_calls}", f"the last was call {self.last_failed_call}"))
        if self.most_iterations:
            told.append(("iterations", f"{self.iterations:.1f}", f"at most {self.most_iterations}"))
        if self.worst_residual is not None:
            told.append(("worst residual", f"{self.worst_residual:.1e}", f"in call {self.worst_call}"))
        if self.measured:
            share = _share(self.weakly_active, self.measured)
            told.append(("weakly active", f"{self.weakly_active}", f"{share} of {self.measured} measured"))
        if self.unseen:
            told.append(("calls not seen", f"{self.unseen}", "inside of torch.func.vmap"))
        return told

    def __str__(self) -> str:
        rows = self.rows()
        name, number = (max(len(row[i]) for row in rows) for i in (0, 1))
        return "\n".join(
            [self.layer, *(f"  {row[0].ljust(name)}  {row[1].rjust(number)}  {row[2]}".rstrip() for row in rows)]
        )

    def _repr_html_(self) -> str:
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows()
        )
        return f"<table><caption>{html.escape(self.layer)}</caption><tbody>{body}</tbody></table>"


def _share(count: int, of: int) -> str:
    return f"{count / of:.1%}" if of else ""


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count} calls"
