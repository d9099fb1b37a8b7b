"""``declarative lsp``: the language server on stdin and stdout, for editors to start."""

from __future__ import annotations

from argparse import Namespace

from declarative.cli.arguments import UsageError
from declarative.cli.terminal import Terminal


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Serve until the editor ends the session. Raises `UsageError` where pygls is not installed."""
    try:
        from declarative.lsp.server import serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("pygls", "lsprotocol"):
            raise
        raise UsageError(
            "the language server needs the package `pygls`", 'in the repository: pip install -e ".[lsp]"'
        ) from None
    serve()
    return 0
