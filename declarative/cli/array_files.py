"""Arrays out of ``.npy`` and ``.npz`` files of any origin: nothing is unpickled, and nothing is read that is too large.

Unpickling runs whatever code a file contains, so arrays of objects and pickles under another name are refused. A few
bytes may claim to be an array of any size, and a few kilobytes expand to any number of zeros, so the size that a header
claims is compared with what the file holds, and with `LARGEST`, before any of it is read.
"""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any

from numpy.lib import format as npy

LARGEST = 2**31
"""Bytes of one array, in float64."""

UNPICKLED = "pickled objects are never loaded; save it with numpy.save"


class UnreadableError(Exception):
    """Why a value cannot be read, and what to do."""

    def __init__(self, reason: str, help: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.help = reason, help


def read_npy(path: Path) -> Any:
    """The array of an ``.npy`` file. Raises `UnreadableError`."""
    with path.open("rb") as file:
        if file.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
            raise UnreadableError(f"`{path}` is not an .npy file", UNPICKLED)
        file.seek(0)
        return _array(file, os.fstat(file.fileno()).st_size, f"`{path}`")


def read_npz(path: Path, key: str) -> Any:
    """One array of an ``.npz`` file, by name. Raises `UnreadableError`."""
    if not zipfile.is_zipfile(path):
        raise UnreadableError(f"`{path}` is not an .npz file", UNPICKLED.replace("save it", "save them", 1) + "z")
    try:
        with zipfile.ZipFile(path) as archive:
            held = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            if key not in held:
                raise _not_held(path, key, list(held))
            size = archive.getinfo(held[key]).file_size
            _refuse_large(size, f"`{key}` of `{path}`")
            with archive.open(held[key]) as member:
                return _array(member, size, f"`{key}` of `{path}`")
    except (UnreadableError, MemoryError, OSError):
        raise
    except Exception as error:
        # Archives may be damaged, encrypted or packed in ways that each have an exception of their own.
        raise UnreadableError(f"`{path}` is damaged: {_one_line(error)}") from None


def _not_held(path: Path, key: str, names: list[str]) -> UnreadableError:
    held = ", ".join(f"`{n}`" for n in names) or "nothing"
    example = f"name the one that is meant: {path}:{names[0]}" if names else None
    return UnreadableError(f"`{path}` has no array `{key}`; it holds {held}", example)


def _array(file: IO[bytes], size: int, what: str) -> Any:
    """The array that starts here, in a stream of ``size`` bytes."""
    try:
        version = npy.read_magic(file)
        reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = reader(file)
        if dtype.hasobject:
            raise UnreadableError(
                f"{what} holds pickled Python objects, which are never loaded, since unpickling runs code",
                "save a plain array of numbers: numpy.save(path, numpy.asarray(x, dtype=float))",
            )
        count = _entries(shape)
        _refuse_large(count * max(dtype.itemsize, 8), what)
        claimed = count * dtype.itemsize
        if claimed > size - file.tell():
            raise UnreadableError(
                f"{what} is damaged: its header claims {claimed} bytes, of which there are {size - file.tell()}"
            )
        file.seek(0)
        return npy.read_array(file, allow_pickle=False)
    except (UnreadableError, MemoryError, OSError):
        raise
    except Exception as error:
        # The header is a Python literal that anybody may have written.
        raise UnreadableError(f"{what} is damaged: {_one_line(error)}") from None


def _entries(shape: tuple[int, ...]) -> int:
    """In integers of any length: a product of sizes that somebody wrote may overflow."""
    if any(length < 0 for length in shape):
        raise ValueError(f"its shape is {shape}")
    return math.prod(shape)


def _refuse_large(size: int, what: str) -> None:
    if size > LARGEST:
        raise UnreadableError(
            f"{what} is too large: {size / 2**30:.3g} GiB, of at most {LARGEST // 2**30}",
            "call the layer from Python, batch by batch",
        )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text if len(text) <= 120 else f"{text[:120]}...") or type(error).__name__
