"""Jupyter: ``%load_ext declarative`` gives the cell magic ``%%opt`` and shows layers as pages.

IPython is imported by nothing outside of this package, and torch is not loaded before a cell is compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.formatters import BaseFormatter
    from IPython.core.interactiveshell import InteractiveShell

LAYER = ("declarative.runtime.layer", "Layer")


def load(shell: InteractiveShell) -> None:
    """Register the magic and the views with a shell."""
    from declarative.notebook.magic import OptMagic
    from declarative.notebook.view import class_html, instance_html

    shell.register_magics(OptMagic)
    html = _html(shell)
    html.for_type(type, class_html)
    html.for_type_by_name(*LAYER, instance_html)


def unload(shell: InteractiveShell) -> None:
    """Take both back."""
    shell.magics_manager.magics["cell"].pop("opt", None)
    html = _html(shell)
    html.pop(type, None)
    html.pop(".".join(LAYER), None)


def _html(shell: InteractiveShell) -> BaseFormatter:
    assert shell.display_formatter is not None, "a shell that runs has its formatters"
    formatter: BaseFormatter = shell.display_formatter.formatters["text/html"]
    return formatter
