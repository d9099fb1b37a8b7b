"""The text of a program file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError


def read_text(path: str | PathLike[str]) -> str:
    """The text of a ``.opt`` file, lines ending in ``\\n``. Raises `DiagnosticError` E001 or E002."""
    name = str(path)
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise _refused("E001", f"no file `{name}`") from None
    except IsADirectoryError:
        raise _refused("E001", f"`{name}` is a directory, not a file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused("E001", f"cannot read `{name}`: {reason.lower()}") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused("E002", f"`{name}` is not text: byte {error.start} is not UTF-8") from None
    return text.replace("\r\n", "\n")


def _refused(code: str, message: str) -> DiagnosticError:
    return DiagnosticError([Diagnostic(code, message)])
