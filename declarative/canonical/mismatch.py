"""Why a program is not of some form: a sentence and the place that decided it."""

from __future__ import annotations

from dataclasses import dataclass

from declarative.diagnostics.span import Span


@dataclass(frozen=True)
class Mismatch:
    """A form or structure that declined. ``reason`` completes "does not match: ..."."""

    reason: str
    span: Span | None = None


class DeclinedError(Exception):
    """Carries a mismatch out of a nested pass; caught by the pass's public function."""

    def __init__(self, reason: str, span: Span | None = None) -> None:
        super().__init__(reason)
        self.mismatch = Mismatch(reason, span)
