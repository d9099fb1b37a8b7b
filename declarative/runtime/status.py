"""What became of one instance of a batch."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Outcome of one instance's solve; stored per instance as an int8 tensor."""

    SOLVED = 0
    INACCURATE = 1
    INFEASIBLE = 2
    UNBOUNDED = 3
    MAX_ITERATIONS = 4
    NOT_FINITE = 5
    SADDLE = 6

    @property
    def usable(self) -> bool:
        """Whether the point may be returned to the caller (a saddle is stationary: reported, not refused)."""
        return self in (Status.SOLVED, Status.SADDLE)

    @property
    def label(self) -> str:
        """The status as users read it, e.g. ``max_iterations``."""
        return self.name.lower()
