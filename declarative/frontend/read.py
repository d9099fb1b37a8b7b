"""The text of a program file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError
from declarative.frontend.limits import MAXIMUM_LENGTH


def read_text(path: str | PathLike[str]) -> str:
    """The text of a ``.opt`` file, lines ending in ``\\n``. Raises `DiagnosticError` E001, E002 or E003.

    No more is read than a program may have, for a device or a pipe may never end.
    """
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(4 * MAXIMUM_LENGTH + 1)
    except FileNotFoundError:
        raise _refused("E001", f"no file `{name}`") from None
    except IsADirectoryError:
        raise _refused("E001", f"`{name}` is a directory, not a file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused("E001", f"cannot read `{name}`: {reason.lower()}") from None
    if len(data) > 4 * MAXIMUM_LENGTH:  # a character takes four bytes at most
        raise _refused("E003", f"`{name}` has more than the {MAXIMUM_LENGTH:,} characters that a program may have")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused("E002", f"`{name}` is not text: byte {error.start} is not UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refused(code: str, message: str) -> DiagnosticError:
    return DiagnosticError([Diagnostic(code, message)])
