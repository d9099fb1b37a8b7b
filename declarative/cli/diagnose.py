"""``declarative diagnose``: whether the derivative exists at the solution, and whether finite differences agree."""

from __future__ import annotations

from argparse import Namespace

from declarative.cli.posed import pose
from declarative.cli.terminal import Terminal
from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError
from declarative.runtime.errors import LayerError


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Print the report; exit code 1 where a condition fails for an instance."""
    posed = pose(arguments, terminal)
    try:
        report = posed.layer.diagnose(**posed.arguments, finite_differences=True)
    except LayerError as error:
        raise DiagnosticError([Diagnostic("E704", str(error).partition(": ")[2] or str(error))]) from None
    terminal.line(str(report))
    return 0 if bool(report.holds.all()) else 1
