"""What the rows of the matrix are: a statement about a layer, and the check that it is so of a setting.

A check returns where its statement holds and fails an assertion where it does not. A layer that cannot do what is asked
raises a `Refusal`, and the matrix says which: anything else that it raises is a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import declarative as dl
from tests.conformance.matrix.subject import Setting

Check = Callable[[Setting], None]

Refusal = (NotImplementedError, dl.InputError)


@dataclass(frozen=True)
class Holds:
    """The statement is true of the setting."""


@dataclass(frozen=True)
class Refused:
    """The layer says that it cannot, and what can be done instead."""

    message: str


@dataclass(frozen=True)
class Silent:
    """The statement is about something that the subject does not have."""

    reason: str


Verdict = Holds | Refused | Silent


@dataclass(frozen=True)
class Property:
    """``name`` heads the row, the check's docstring is its statement. ``concerns`` says why the statement is not about
    a setting, or nothing. ``single``: of float32 too. ``slow``: takes a second or more."""

    name: str
    check: Check
    concerns: Callable[[Setting], str]
    single: bool
    slow: bool

    def __str__(self) -> str:
        return self.name

    @property
    def statement(self) -> str:
        return " ".join((self.check.__doc__ or "").split())

    def judge(self, setting: Setting) -> Verdict:
        reason = self.concerns(setting)
        if reason:
            return Silent(reason)
        try:
            with setting.active():
                self.check(setting)
        except Refusal as refusal:
            return Refused(str(refusal))
        return Holds()


def everyone(setting: Setting) -> str:
    return ""


def property_of(
    name: str, concerns: Callable[[Setting], str] = everyone, single: bool = True, slow: bool = False
) -> Callable[[Check], Property]:
    """Makes a property of its check."""
    return lambda check: Property(name, check, concerns, single, slow)
