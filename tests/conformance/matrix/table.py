"""The one table: every property of every subject by every backend at every precision, and what is refused.

A cell is expected to hold unless it stands in `REFUSALS`, and nothing else may be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from tests.conformance.matrix.agreement import AGREEMENT
from tests.conformance.matrix.batches import BATCHES
from tests.conformance.matrix.derivatives import DERIVATIVES
from tests.conformance.matrix.failures import FAILURES
from tests.conformance.matrix.graphs import GRAPHS
from tests.conformance.matrix.inputs import INPUTS
from tests.conformance.matrix.property import Property
from tests.conformance.matrix.subject import Setting
from tests.conformance.matrix.subjects import SUBJECTS
from tests.conformance.matrix.transforms import TRANSFORMS, third_derivative

GROUPS: dict[str, tuple[Property, ...]] = {
    "Derivatives": DERIVATIVES,
    "torch.func": TRANSFORMS,
    "Compiled and exported": GRAPHS,
    "Batches": BATCHES,
    "Tensors as they come": INPUTS,
    "Failure": FAILURES,
    "The same by other means": AGREEMENT,
}

PROPERTIES = tuple(p for group in GROUPS.values() for p in group)


@dataclass(frozen=True)
class Refusal:
    """What is refused: of which properties, in which settings, with which words, and what to do instead."""

    properties: tuple[Property, ...]
    settings: Callable[[Setting], bool]
    words: str
    reason: str


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        (third_derivative,),
        lambda setting: setting.subject.structure == "cone_program",
        "third derivatives of a cone program are not available",
        "The gradient of a cone program may be differentiated once more and no further. A problem that lowers to a "
        "quadratic program has derivatives of every order.",
    ),
)


def refusal(prop: Property, setting: Setting) -> Refusal | None:
    """The refusal that is expected of a cell, if any."""
    return next((r for r in REFUSALS if prop in r.properties and r.settings(setting)), None)


def settings() -> Iterator[Setting]:
    """Every column: subjects by their backends, in float64 and float32."""
    for subject in SUBJECTS:
        for backend in subject.backends:
            for dtype in (torch.float64, torch.float32):
                yield Setting(subject, backend, dtype)


def cells() -> Iterator[tuple[Property, Setting]]:
    """Every cell of which the statement says something."""
    for prop in PROPERTIES:
        for setting in settings():
            if (setting.double or prop.single) and not prop.concerns(setting):
                yield prop, setting


def quick(prop: Property, setting: Setting) -> bool:
    """Whether a cell is tested in every run: float64 by the default backend, unless it takes long."""
    return setting.double and setting.backend == setting.subject.backends[0] and not prop.slow
