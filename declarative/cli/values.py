"""Values of parameters: numbers and lists written out, and files of arrays. Nothing is ever unpickled.

Unpickling runs whatever code a file contains, so an array of objects and a pickle under another name are refused.
"""

from __future__ import annotations

import csv
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError

NPY_MAGIC = b"\x93NUMPY"
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin", ".ckpt")
KINDS = "a number, a list such as [1,2,3], or a file: .npy, .npz, .csv or .json"

Array = NDArray[np.float64]


def read_value(name: str, text: str, rank: int) -> Array:
    """The value of ``--param name=text``, float64. ``rank``: the number of dimensions that the parameter declares.

    Raises `DiagnosticError` E703.
    """
    path, _, key = text.rpartition(":") if ".npz:" in text else (text, "", "")
    suffix = Path(path).suffix.lower()
    reader = READERS.get(suffix)
    try:
        if reader is not None:
            if not Path(path).exists():
                raise _UnreadableError(f"no file `{path}`")
            raw = reader(Path(path), key or name, rank)
        else:
            raw = _literal(text)
        return _real(raw)
    except _UnreadableError as error:
        raise _refused(name, error.reason, error.help) from None
    except MemoryError:
        raise _refused(name, f"`{path}` is larger than the memory", None) from None
    except OSError as error:
        raise _refused(name, f"cannot read `{path}`: {(error.strerror or str(error)).lower()}", None) from None


class _UnreadableError(Exception):
    """Why a value cannot be read."""

    def __init__(self, reason: str, help: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.help = reason, help


def _refused(name: str, reason: str, help: str | None) -> DiagnosticError:
    return DiagnosticError([Diagnostic("E703", f"cannot read the value of `{name}`: {reason}", help=help)])


def _literal(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        pass
    suffix = Path(text).suffix.lower()
    if suffix in PICKLES:
        raise _UnreadableError(f"`{text}` may hold pickled objects, which are never loaded", "save it with numpy.save")
    if Path(text).exists():
        raise _UnreadableError(f"`{text}` is not of a known kind", f"a value is {KINDS}")
    raise _UnreadableError(f"`{text}` is neither a value nor a file", f"a value is {KINDS}")


def _npy(path: Path, key: str, rank: int) -> Any:
    with path.open("rb") as file:
        start = file.read(len(NPY_MAGIC))
    if start != NPY_MAGIC:
        raise _UnreadableError(
            f"`{path}` is not an .npy file", "pickled objects are never loaded; save it with numpy.save"
        )
    return _load(path, lambda: np.load(path, allow_pickle=False))


def _npz(path: Path, key: str, rank: int) -> Any:
    if not zipfile.is_zipfile(path):
        raise _UnreadableError(
            f"`{path}` is not an .npz file", "pickled objects are never loaded; save it with numpy.savez"
        )

    def load() -> Any:
        with np.load(path, allow_pickle=False) as arrays:
            if key not in arrays.files:
                held = ", ".join(f"`{n}`" for n in arrays.files) or "nothing"
                example = f"name the one that is meant: {path}:{arrays.files[0]}" if arrays.files else None
                raise _UnreadableError(f"`{path}` has no array `{key}`; it holds {held}", example)
            return arrays[key]

    return _load(path, load)


def _load(path: Path, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (ValueError, EOFError, KeyError, SyntaxError, zipfile.BadZipFile) as error:
        text = " ".join(str(error).split())
        if "allow_pickle" in text or "pickle" in text.lower():
            raise _UnreadableError(
                f"`{path}` holds pickled Python objects, which are never loaded, since unpickling runs code",
                "save a plain array of numbers: numpy.save(path, numpy.asarray(x, dtype=float))",
            ) from None
        raise _UnreadableError(f"`{path}` is damaged: {text}") from None


def _csv(path: Path, key: str, rank: int) -> Any:
    """Rows of numbers, perhaps under a line of names. For a scalar or a vector one row or column is one list."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                (n, [c.strip() for c in row]) for n, row in enumerate(csv.reader(file), 1) if any(map(str.strip, row))
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _UnreadableError(f"`{path}` is not a .csv file: {error}") from None
    if len(rows) > 1 and not any(map(_is_number, rows[0][1])):
        rows = rows[1:]
    if not rows:
        raise _UnreadableError(f"`{path}` is empty")
    width = len(rows[0][1])
    for number, cells in rows:
        wrong = next((c for c in cells if not _is_number(c)), None)
        if wrong is not None:
            raise _UnreadableError(f"`{wrong}` in line {number} of `{path}` is not a number")
        if len(cells) != width:
            raise _UnreadableError(f"line {number} of `{path}` has {len(cells)} numbers, the lines before it {width}")
    array = np.array([[float(c) for c in cells] for _, cells in rows])
    if rank < 2 and 1 in array.shape:
        array = array.ravel()
    return array.reshape(()) if rank == 0 and array.size == 1 else array


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _json(path: Path, key: str, rank: int) -> Any:
    try:
        held = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _UnreadableError(f"`{path}` is not a .json file: {error}") from None
    if isinstance(held, dict):
        if key not in held:
            raise _UnreadableError(
                f"`{path}` has no entry `{key}`; it holds {', '.join(f'`{k}`' for k in held) or 'nothing'}"
            )
        held = held[key]
    return held


def _real(raw: Any) -> Array:
    """Real numbers as float64, of any nesting that is rectangular."""
    if not isinstance(raw, np.ndarray):
        _refuse_other(raw)
        try:
            raw = np.array(raw)
        except (ValueError, OverflowError):
            raise _UnreadableError("its rows differ in length", "every row of a matrix has as many entries") from None
    if raw.dtype.kind not in "fiub":
        kind = {"c": "complex", "O": "object", "U": "text", "S": "text", "V": "structured"}.get(
            raw.dtype.kind, raw.dtype
        )
        raise _UnreadableError(f"its entries are {kind}; expected real numbers")
    return np.ascontiguousarray(raw, dtype=np.float64).reshape(raw.shape)


def _refuse_other(raw: Any) -> None:
    """Only numbers, in lists of lists; a ``null`` is NaN in no convention."""
    if isinstance(raw, list):
        for item in raw:
            _refuse_other(item)
    elif isinstance(raw, bool) or not isinstance(raw, int | float):
        word = {type(None): "null", dict: "an object", str: f'the text "{raw}"'}.get(type(raw), f"`{str(raw).lower()}`")
        raise _UnreadableError(f"expected numbers, found {word}")
    elif isinstance(raw, int) and not math.isfinite(_float(raw)):
        raise _UnreadableError(f"{str(raw)[:12]}... is too large")


def _float(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


READERS: dict[str, Callable[[Path, str, int], Any]] = {".npy": _npy, ".npz": _npz, ".csv": _csv, ".json": _json}
"""Suffix -> reader of (path, name of the array inside, declared rank)."""
