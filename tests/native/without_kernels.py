"""A pytest plugin that hides the compiled library, as where there was no compiler."""

from __future__ import annotations

from declarative.runtime.native import library

library.library = lambda: None  # type: ignore[assignment]
