"""The cell magic ``%%opt [NAME] [--dim n=3 ...]``: compiles the cell and binds the layer's class.

A program with errors is shown with every one of them marked, binds nothing and fails the cell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.display import display

from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError
from declarative.diagnostics.span import Source
from declarative.notebook.page import Page, findings_html, findings_text, source_html
from declarative.notebook.view import class_body

USAGE = "%%opt [NAME] [--dim n=3 ...]"


class CellError(Exception):
    """Ends a cell whose program has errors; they have been shown, so there is no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


@dataclass(frozen=True)
class Arguments:
    """What stands on the magic's line."""

    name: str | None
    sizes: dict[str, int]


def arguments(line: str) -> Arguments:
    """Raises `UsageError` for words that mean nothing."""
    name: str | None = None
    sizes: dict[str, int] = {}
    words = iter(shlex.split(line))
    for word in words:
        if word.startswith("--dim"):
            text = word.removeprefix("--dim").removeprefix("=") or next(words, "")
            size = re.fullmatch(r"([A-Za-z_]\w*)=([1-9]\d*)", text)
            if size is None:
                raise UsageError(f"--dim takes NAME=SIZE, as in --dim n=3, not `{text}`")
            sizes[size[1]] = int(size[2])
        elif name is None and word.isidentifier():
            name = word
        else:
            raise UsageError(f"`{word}` is not understood; the line is: {USAGE}")
    return Arguments(name, sizes)


@final
@magics_class
class OptMagic(Magics):
    """Registered with the shell by ``%load_ext declarative``."""

    @cell_magic
    def opt(self, line: str, cell: str) -> None:
        """Compile the cell and bind its layer's class to NAME, or to its own name."""
        given, shell = arguments(line), self.shell
        assert shell is not None, "a magic runs in a shell"
        source = Source(f"In[{shell.execution_count}]", cell)
        from declarative.compiler import compile
        from declarative.frontend import analyse

        program, found = analyse(source.text, source.name, given.sizes)
        if program is None:
            raise _shown(source, found)
        try:
            compiled = compile(program, **given.sizes)
        except DiagnosticError as error:
            raise _shown(source, (*found, *error.diagnostics)) from None
        name = given.name or compiled.__name__
        shell.user_ns[name] = compiled
        body = source_html(source, found) + findings_html(found) + class_body(compiled, problem=False)
        _display(Page(body, "\n\n".join([*([findings_text(found)] if found else []), f"{name} = {compiled!r}"])))


def _display(page: Page) -> None:
    display(page)


def _shown(source: Source, found: Sequence[Diagnostic]) -> CellError:
    """Show a program with what is wrong with it; returns the error to raise."""
    _display(Page(source_html(source, found) + findings_html(found), findings_text(found)))
    errors = [diagnostic for diagnostic in found if diagnostic.severity == "error"]
    codes = ", ".join(dict.fromkeys(diagnostic.code for diagnostic in errors))
    return CellError(
        f"{len(errors)} error{'' if len(errors) == 1 else 's'} in the program ({codes}); nothing was bound"
    )
