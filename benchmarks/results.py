"""What a run found, as data: written to a file, so that page and figures can be made again without measuring."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.candidates.candidate import Kind
from benchmarks.cases import Tolerance
from benchmarks.limits import Limit
from benchmarks.measuring import Row


@dataclass(frozen=True)
class Measured:
    """A work with its rows."""

    section: str
    title: str
    batch: int
    rows: tuple[Row, ...]
    limit: Limit | None = None
    certificate: float = 0.0
    """The larger of the two certificates of its reference."""
    at: float = 0.0
    """Where on the axis of its curve."""
    reason: str = ""
    """Why there is nothing, where there is nothing."""

    @property
    def ours(self) -> Row | None:
        """The package's first row, against which all are compared."""
        return next((row for row in self.rows if row.kind is Kind.OURS and row.measured), None)


@dataclass(frozen=True)
class Results:
    """A whole run."""

    environment: dict[str, str]
    settings: dict[str, str]
    limits: dict[str, str]
    measured: tuple[Measured, ...]

    def section(self, *names: str) -> list[Measured]:
        return [one for one in self.measured if one.section in names]

    @property
    def sections(self) -> list[str]:
        return list(dict.fromkeys(one.section for one in self.measured))

    def with_sections(self, newer: Results) -> Results:
        """These results with the works that ``newer`` measured again, and its machine."""
        again = {(one.section, one.title, one.at): one for one in newer.measured}
        measured = tuple(again.get((one.section, one.title, one.at), one) for one in self.measured)
        return Results(newer.environment, self.settings, newer.limits, measured)

    def write(self, path: Path) -> None:
        content = json.dumps(asdict(self), indent=1, default=lambda value: value.value)
        replace(path, content.encode())


def read(path: Path) -> Results:
    """The results of a file that `Results.write` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    measured = tuple(_measured(**one) for one in content.pop("measured"))
    return Results(measured=measured, **content)


def _measured(rows: list[dict], limit: dict | None, **rest: object) -> Measured:
    return Measured(rows=tuple(_row(**row) for row in rows), limit=None if limit is None else Limit(**limit), **rest)


def _row(kind: str, turns: dict[str, float], tolerance: list[float], **rest: object) -> Row:
    return Row(kind=Kind(kind), turns={int(k): v for k, v in turns.items()}, tolerance=Tolerance(*tolerance), **rest)


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)
