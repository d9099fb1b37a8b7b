"""Reading programs from disk."""

from __future__ import annotations

from pathlib import Path

from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError


def read(path: str | Path) -> str:
    """The text of a program; raises `DiagnosticError` where the file cannot be read or is not UTF-8 text."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        help = _neighbour(path) if not path.exists() else None
        raise DiagnosticError([Diagnostic("E001", f"cannot read `{path}`: {reason}", help=help)]) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        message = f"`{path}` is not UTF-8 text: line {line} holds the byte 0x{data[error.start]:02x}"
        raise DiagnosticError([Diagnostic("E002", message, help="save the file as UTF-8")]) from None


def _neighbour(path: Path) -> str | None:
    """The path with the suffix of programs, if that is what was meant."""
    meant = path.with_name(path.name + ".opt")
    return f"did you mean `{meant}`?" if path.name and meant.exists() else None
