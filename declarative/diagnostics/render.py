"""Diagnostics as text for people and as data for editors."""

from __future__ import annotations

from declarative.diagnostics.diagnostic import Diagnostic


def render(diagnostic: Diagnostic, color: bool = False) -> str:
    return f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"
