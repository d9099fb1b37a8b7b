"""How large a program may be. The passes of the compiler descend expressions by recursion."""

from __future__ import annotations

MAXIMUM_LENGTH = 200_000
"""Characters of a file."""

MAXIMUM_DEPTH = 120
"""Levels of an expression, lets opened; a chain of operators has one level for each."""

MAXIMUM_SIZE = 50_000
"""Nodes of an expression, lets opened."""

MAXIMUM_ERRORS = 20
"""Syntax errors told at once."""

LARGEST_SIZE = 2**53
"""A dimension. Numbers are read as float64, which holds every whole number up to here."""


def shortened(text: str) -> str:
    """The start of a word, for a message."""
    return text if len(text) <= 40 else f"{text[:40]}..."
