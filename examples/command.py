"""What the examples are run with: ``python -m examples.NAME [--full]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"


def program() -> str:
    """How an example is called, for its help."""
    spec = sys.modules["__main__"].__spec__
    return f"python -m {spec.parent}" if spec is not None and spec.parent else Path(sys.argv[0]).name


def full(description: str, what: str) -> bool:
    """Whether ``--full``, told as ``what``, is asked for. Sets float64, and one thread: the tensors are small."""
    parser = argparse.ArgumentParser(prog=program(), description=description, allow_abbrev=False)
    parser.add_argument("--full", action="store_true", help=what)
    asked: bool = parser.parse_args().full
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    return asked


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column's cells are names, the others' numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2), header_style="dim")
    for j, column in enumerate(columns):
        table.add_column(column, justify="right" if j else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, width=120).print(table, "")


def wrote(path: Path) -> None:
    """Tell where the figure is, as the caller would type it."""
    print(f"  figure  {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
