"""Values of parameters: numbers and lists written out, and files of numbers. Nothing is ever unpickled."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from declarative.cli.array_files import UnreadableError, read_npy, read_npz
from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError

LONGEST = 2**26
"""Bytes of a file of text: read, its numbers take some fifty times as much."""

LONG = 1000
"""Characters of a path."""

DEEPEST = 32
"""Levels of a list of lists."""

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
            _require_file(path)
            raw = reader(Path(path), key or name, rank)
        else:
            raw = _literal(text)
        return _real(raw)
    except UnreadableError as error:
        raise _refused(name, error.reason, error.help) from None
    except MemoryError:
        raise _refused(name, f"`{path}` is larger than the memory", None) from None
    except OSError as error:
        raise _refused(name, f"cannot read `{path}`: {(error.strerror or str(error)).lower()}", None) from None


def _require_file(path: str) -> None:
    """Raise where there is no file: a directory, and also a pipe or a device, which might never end."""
    if not Path(path).exists():
        raise UnreadableError(f"no file `{path}`")
    if not Path(path).is_file():
        kind = "a directory" if Path(path).is_dir() else "a pipe or a device"
        raise UnreadableError(f"cannot read `{path}`: it is {kind}, and not a file")


def _refused(name: str, reason: str, help: str | None) -> DiagnosticError:
    return DiagnosticError([Diagnostic("E703", f"cannot read the value of `{name}`: {reason}", help=help)])


def _literal(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    except (ValueError, RecursionError):  # an integer of thousands of digits, lists in lists in lists
        raise UnreadableError(f"`{_shortened(text)}` holds a number too large or lists too deep") from None
    if len(text) > LONG:
        raise UnreadableError(f"`{_shortened(text)}` is neither a value nor a file", f"a value is {KINDS}")
    suffix = Path(text).suffix.lower()
    if suffix in PICKLES:
        raise UnreadableError(f"`{text}` may hold pickled objects, which are never loaded", "save it with numpy.save")
    if Path(text).exists():
        raise UnreadableError(f"`{text}` is not of a known kind", f"a value is {KINDS}")
    raise UnreadableError(f"`{text}` is neither a value nor a file", f"a value is {KINDS}")


def _shortened(text: str) -> str:
    """The start of a text, for a message."""
    return text if len(text) <= 60 else f"{text[:60]}..."


def _npy(path: Path, key: str, rank: int) -> Any:
    return read_npy(path)


def _npz(path: Path, key: str, rank: int) -> Any:
    return read_npz(path, key)


def _text(path: Path) -> str:
    """The text of a file, which may begin with a byte order mark. Raises `UnicodeDecodeError`."""
    with path.open("rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise UnreadableError(
            f"`{path}` is too large: more than {LONGEST // 2**20} MiB of text", "save it with numpy.save"
        )
    return data.decode("utf-8-sig")


def _csv(path: Path, key: str, rank: int) -> Any:
    """Rows of numbers, perhaps under a line of names. For a scalar or a vector one row or column is one list."""
    try:
        lines = csv.reader(io.StringIO(_text(path), newline=""))
        rows = [(n, [c.strip() for c in row]) for n, row in enumerate(lines, 1) if any(map(str.strip, row))]
    except UnicodeDecodeError:
        raise UnreadableError(f"`{path}` is not a .csv file: it is not UTF-8 text") from None
    except csv.Error as error:
        raise UnreadableError(f"`{path}` is not a .csv file: {error}") from None
    if len(rows) > 1 and not any(map(_is_number, rows[0][1])):
        rows = rows[1:]
    if not rows:
        raise UnreadableError(f"`{path}` is empty")
    width = len(rows[0][1])
    for number, cells in rows:
        wrong = next((c for c in cells if not _is_number(c)), None)
        if wrong is not None:
            raise UnreadableError(f"`{_shortened(wrong)}` in line {number} of `{path}` is not a number")
        if len(cells) != width:
            raise UnreadableError(f"line {number} of `{path}` has {len(cells)} numbers, the lines before it {width}")
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
        held = json.loads(_text(path), object_pairs_hook=_entries)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"`{path}` is not a .json file: {error}") from None
    except UnicodeDecodeError:
        raise UnreadableError(f"`{path}` is not a .json file: it is not UTF-8 text") from None
    except RecursionError:
        raise UnreadableError(f"`{path}` holds lists nested too deeply") from None
    except ValueError:  # Python reads no integer of more than 4300 digits
        raise UnreadableError(f"`{path}` holds a number that is too large") from None
    if isinstance(held, dict):
        if key not in held:
            raise UnreadableError(
                f"`{path}` has no entry `{key}`; it holds " + _shortened(", ".join(f"`{k}`" for k in held) or "nothing")
            )
        held = held[key]
    return held


def _entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose entries each have a name of their own."""
    held = dict(pairs)
    if len(held) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise UnreadableError(f"it has two entries `{_shortened(twice)}`")
    return held


def _real(raw: Any) -> Array:
    """Real numbers as float64, of any nesting that is rectangular."""
    if not isinstance(raw, np.ndarray):
        _refuse_other(raw)
        try:
            raw = np.array(raw, dtype=np.float64)
        except ValueError:
            raise UnreadableError("its rows differ in length", "every row of a matrix has as many entries") from None
    if raw.dtype.kind not in "fiub":
        kind = {"c": "complex", "O": "object", "U": "text", "S": "text", "V": "structured"}.get(
            raw.dtype.kind, raw.dtype
        )
        raise UnreadableError(f"its entries are {kind}; expected real numbers")
    return np.ascontiguousarray(raw, dtype=np.float64).reshape(raw.shape)


def _refuse_other(raw: Any, depth: int = 0) -> None:
    """Only numbers, in lists of lists; a ``null`` is NaN in no convention."""
    if depth > DEEPEST:
        raise UnreadableError(f"its lists are nested more than {DEEPEST} deep")
    if isinstance(raw, list):
        for item in raw:
            _refuse_other(item, depth + 1)
    elif isinstance(raw, bool) or not isinstance(raw, int | float):
        word = {type(None): "null", dict: "an object", str: f'the text "{_shortened(str(raw))}"'}.get(
            type(raw), f"`{str(raw).lower()}`"
        )
        raise UnreadableError(f"expected numbers, found {word}")
    elif isinstance(raw, int) and not math.isfinite(_float(raw)):
        raise UnreadableError(f"{str(raw)[:12]}... is too large")


def _float(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


READERS: dict[str, Callable[[Path, str, int], Any]] = {".npy": _npy, ".npz": _npz, ".csv": _csv, ".json": _json}
"""Suffix -> reader of (path, name of the array inside, declared rank)."""
