"""All convex programs: reading this module registers every reference."""

from __future__ import annotations

from tests.conformance.convex import control, distributions, finance, geometry, matrices, regression, signals
from tests.conformance.convex.posed import POSED, Posed

FIELDS = (regression, signals, distributions, finance, geometry, matrices, control)

PROGRAMS: tuple[Posed, ...] = tuple(POSED.values())
NAMES = [program.name for program in PROGRAMS]
