"""Where a command writes: results to stdout, everything about them to stderr, in colour where a person reads along."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from declarative.cli.arguments import UsageError
from declarative.diagnostics.diagnostic import Diagnostic
from declarative.diagnostics.render import render

NARROWEST = 40
"""Columns; in fewer, tables would show nothing."""

MARKS = {"ok": "green", "failed": "red", "quiet": "dim"}


@dataclass(frozen=True)
class Terminal:
    """The two streams."""

    out: Console
    err: Console

    @staticmethod
    def open(color: str) -> Terminal:
        """``color`` is ``auto``, ``always`` or ``never``; ``auto`` respects ``NO_COLOR`` and asks for a terminal."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        return Terminal(_console(sys.stdout, color), _console(sys.stderr, color))

    def report(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Diagnostics on stderr, a blank line between."""
        text = "\n\n".join(render(d, color=self.err.color_system is not None) for d in diagnostics)
        if text:
            sys.stdout.flush()
            self.err.file.write(f"{text}\n\n")
            self.err.file.flush()

    def usage(self, error: UsageError) -> None:
        """A wrong usage: what is wrong, what to write, and how the command goes."""
        self.err.print(Text.assemble(("error", "bold red"), ": ", (error.message, "bold")), soft_wrap=True)
        if error.help:
            self.err.print(Text.assemble(("help", "bold green"), f": {error.help}"), soft_wrap=True)
        self.err.file.write(error.usage)

    def line(self, *parts: str | tuple[str, str]) -> None:
        """One line on stdout, never folded, since it may be a path."""
        self.out.print(Text.assemble(*parts), soft_wrap=True)

    def heading(self, text: str) -> None:
        """The title of what follows."""
        self.show(Text(text, "bold"))

    def rows(self, rows: Sequence[Sequence[str]], styles: Sequence[str] = (), *, indent: int = 2) -> None:
        """Aligned columns without rules; the cells of the widest column are folded to the width."""
        if not rows:
            return
        count = max(map(len, rows))
        widths = [max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(count)]
        widest = widths.index(max(widths))
        table = Table.grid(padding=(0, 2), pad_edge=False)
        for i in range(count):
            table.add_column(style=styles[i] if i < len(styles) else "", no_wrap=i != widest, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self.show(Padding(table, (0, 0, 0, indent), expand=False))

    def paragraph(self, text: str, *, indent: int = 2) -> None:
        """Running text, folded to the width."""
        self.show(Padding(Text(text), (0, 0, 0, indent), expand=False))

    def show(self, renderable: RenderableType) -> None:
        """Anything of rich, without the blanks that fill its lines."""
        with self.out.capture() as capture:
            self.out.print(renderable)
        self.out.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def _console(stream: TextIO, color: str) -> Console:
    painted = _painted(stream, color)
    console = Console(
        file=stream,
        force_terminal=True if painted else None,
        color_system="standard" if painted else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.width = max(console.width, NARROWEST)
    return console


def _painted(stream: TextIO, color: str) -> bool:
    if color != "auto":
        return color == "always"
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
