"""The words of the language, which no declaration may take for its name."""

from __future__ import annotations

KEYWORDS = (
    *("layer", "dim", "param", "var", "let", "extern", "minimize", "maximize", "locally", "solve", "subject", "to"),
    *("output", "option", "from", "as", "in", "for"),
)
RESERVED = (*KEYWORDS, "value", "dual")
