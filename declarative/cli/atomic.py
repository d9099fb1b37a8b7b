"""Output files appear whole or not at all: written beside their place, then moved onto it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError


def replace_file(path: str | Path, content: bytes) -> None:
    """Write ``content``; raises `DiagnosticError` E004, and the old file is then as it was."""
    with _told(path):
        _replace(Path(os.path.realpath(path)), content)


def require_writable(path: str | Path) -> None:
    """Raise `DiagnosticError` E004 where `replace_file` would, before there is something to lose."""
    with _told(path):
        place = Path(os.path.realpath(path))
        if _replaceable(place):
            handle, temporary = tempfile.mkstemp(dir=place.parent)
            os.close(handle)
            os.unlink(temporary)


@contextlib.contextmanager
def _told(path: str | Path) -> Iterator[None]:
    """Failures of the file system as diagnostics."""
    try:
        yield
    except IsADirectoryError:
        raise unwritable(path, f"`{path}` is a directory, not a file") from None
    except (FileNotFoundError, NotADirectoryError):
        if Path(path).parent.is_dir():
            raise unwritable(path, f"cannot write `{path}`") from None
        raise unwritable(path, f"no folder `{Path(path).parent}` to write `{Path(path).name}` to") from None
    except OSError as error:
        raise unwritable(path, f"cannot write `{path}`: {(error.strerror or str(error)).lower()}") from None


def unwritable(path: str | Path, message: str, help: str | None = None) -> DiagnosticError:
    return DiagnosticError([Diagnostic("E004", message, help=help)])


def _replace(place: Path, content: bytes) -> None:
    if not _replaceable(place):
        place.write_bytes(content)
        return
    mode = _mode(place)
    handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _new_mode() if mode is None else stat.S_IMODE(mode))
        os.replace(temporary, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _replaceable(place: Path) -> bool:
    """Whether a new file may take the place; a device or a pipe is written to instead. Raises `OSError` if neither."""
    mode = _mode(place)
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError
    if mode is not None and not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return mode is None or stat.S_ISREG(mode)


def _mode(place: Path) -> int | None:
    try:
        return os.stat(place).st_mode
    except FileNotFoundError:
        return None


def _new_mode() -> int:
    """What `open` would give a new file; `mkstemp` makes it private."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
