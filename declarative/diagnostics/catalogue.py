"""Every kind of diagnostic, with its explanation: what ``declarative explain E203`` prints.

Codes are stable and never reused. E0 files, E1 syntax, E2 names and shapes, E3 convexity, E4 local and root problems,
E5 outputs and options, E6 sizes and structure, E7 data at run time; W warnings with the number of their group.
"""

from __future__ import annotations

from declarative.diagnostics import (
    entries_convexity,
    entries_data,
    entries_files,
    entries_names,
    entries_outputs,
    entries_sizes,
    entries_syntax,
)
from declarative.diagnostics.entry import Entry

GROUPS = (entries_files, entries_syntax, entries_names, entries_convexity, entries_outputs, entries_sizes, entries_data)
"""One module per group of codes; its ``ENTRIES`` are its codes in order."""

CATALOGUE: dict[str, Entry] = {entry.code: entry for group in GROUPS for entry in group.ENTRIES}
"""Code -> entry."""
