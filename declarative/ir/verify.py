"""What every program must obey, whether it was written as text or built in Python."""

from __future__ import annotations

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.ir.program import Program


def verify(program: Program) -> list[Diagnostic]:
    """Every rule that the program breaks."""
    return []
