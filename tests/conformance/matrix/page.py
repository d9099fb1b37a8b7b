"""Writes docs/conformance.md from the table: ``python -m tests.conformance.matrix.page``; a test keeps it current."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.conformance.matrix.property import Property
from tests.conformance.matrix.subject import Subject
from tests.conformance.matrix.subjects import SUBJECTS
from tests.conformance.matrix.table import GROUPS, PROPERTIES, REFUSALS, cells, refusal, settings

PAGE = Path(__file__).parents[3] / "docs" / "conformance.md"

HEAD = """# What is tested of every layer

<!-- Written by tests/conformance/matrix/page.py. Edit what it reads, not this file. -->

One table says what holds of every kind of layer, and `make test-all` tests every cell of it: a property, of a program,
by a way of solving it, in float64 and in float32. What cannot be done is refused with a message, and a refusal that is
not on this page fails the tests as a wrong number does.
"""

LEGEND = """A tick says that the statement holds in every setting of the program: by each of its backends, in float64
and in float32; rows that compare with differences of derivatives are of float64. A dot says that the statement is about
something that the program does not have, such as an infeasible instance of a softmax. A letter is a refusal, explained
below.
"""


def page() -> str:
    """The page as it should be."""
    parts = [HEAD, "## The programs\n", *_programs(), "## The table\n", LEGEND, *_matrix()]
    parts += ["## What is refused\n", *_refused(), "## The statements\n", *_statements(), _count()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _programs() -> Iterator[str]:
    rows = [
        (str(number), subject.name, f"`{subject.structure}`", "; ".join(map(_backend, subject.backends)))
        for number, subject in enumerate(SUBJECTS, 1)
    ]
    yield _rows(("", "program", "structure", "backends"), rows)


def _backend(backend: object) -> str:
    named = {"default": "the one there is", "kernels": "compiled kernels", "torch": "torch alone"}
    return named.get(str(backend), str(backend))


def _matrix() -> Iterator[str]:
    """One table a group of properties; programs are the columns, by their numbers, which are
    named above each."""
    numbers = [str(number) for number, _ in enumerate(SUBJECTS, 1)]
    legend = ", ".join(f"{number} {subject.name}" for number, subject in zip(numbers, SUBJECTS, strict=True))
    for title, group in GROUPS.items():
        yield f"{legend}.\n"
        rows = [(prop.name, *(_cell(prop, subject) for subject in SUBJECTS)) for prop in group]
        yield _rows((title, *numbers), rows)


def _cell(prop: Property, subject: Subject) -> str:
    own = [s for s in settings() if s.subject == subject and (s.double or prop.single) and not prop.concerns(s)]
    if not own:
        return "·"
    refused = {refusal(prop, setting) for setting in own}
    letters = sorted(_letter(r) for r in refused if r is not None)
    return "".join(letters) + ("✓" if None in refused and not letters else "")


def _letter(refused: object) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[[*REFUSALS].index(refused)]  # type: ignore[arg-type]


def _refused() -> Iterator[str]:
    for refused in REFUSALS:
        names = ", ".join(p.name for p in refused.properties)
        yield f"**{_letter(refused)}.** {refused.reason} ({names})\n"


def _statements() -> Iterator[str]:
    yield "\n".join(f"- **{prop.name}**: {prop.statement}" for prop in PROPERTIES)


def _count() -> str:
    tested = list(cells())
    refused = sum(refusal(prop, setting) is not None for prop, setting in tested)
    held = len(tested) - refused
    return f"{len(tested)} cells are tested: {held} hold and {refused} are refused."


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
