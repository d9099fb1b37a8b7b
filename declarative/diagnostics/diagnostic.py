"""A diagnostic is data: what is wrong, where, and what to write instead. Rendering is elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from declarative.diagnostics.span import Span


@dataclass(frozen=True)
class Label:
    """A span with the few words that belong under it."""

    span: Span
    text: str = ""


@dataclass(frozen=True)
class Diagnostic:
    """One finding. ``code`` is a key of the catalogue; ``message`` has no capital, no full stop and code in backticks.

    ``primary`` says what is wrong here, ``secondary`` labels point at declarations, ``notes`` say why and ``help`` is
    the text to type.
    """

    code: str
    message: str
    primary: Label | None = None
    secondary: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None

    @property
    def severity(self) -> str:
        """``error`` or ``warning``, by the first letter of the code."""
        return "warning" if self.code.startswith("W") else "error"


class DiagnosticError(Exception):
    """Carries every diagnostic of a stage; what is raised towards Python callers."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        from declarative.diagnostics.render import render

        return "\n\n" + "\n\n".join(render(d) for d in self.diagnostics)
