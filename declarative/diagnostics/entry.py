"""One kind of diagnostic, explained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A code with its title, why it is an error, a program that has it and the same program without it.

    ``wrong`` and ``right`` are whole programs, or empty where no program shows the kind (a missing file).
    """

    code: str
    title: str
    explanation: str
    wrong: str = ""
    right: str = ""

    def text(self) -> str:
        """The entry as ``declarative explain`` prints it."""
        parts = [f"{self.code}: {self.title}", self.explanation]
        parts += [f"wrong:\n\n{_indented(self.wrong)}"] if self.wrong else []
        parts += [f"right:\n\n{_indented(self.right)}"] if self.right else []
        return "\n\n".join(parts) + "\n"


def _indented(program: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in program.strip().splitlines())


def program(body: str, *, head: str = "layer example\ndim n\nparam x[n]\nvar y[n]") -> str:
    """A whole program from its last lines."""
    return f"{head}\n{body.strip()}\n"
