"""What every program must obey, whether it was written as text or built in Python.

Each rule is a function from a program to diagnostics; they are independent, so that all that is wrong is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.ir import verify_convex, verify_declarations, verify_local, verify_options, verify_use
from declarative.ir.program import Program

Rule = Callable[[Program], Iterator[Diagnostic]]

RULES: tuple[Rule, ...] = (
    verify_declarations.names,
    verify_declarations.attributes,
    verify_declarations.constants,
    verify_declarations.dimensions,
    verify_use.constraint_shapes,
    verify_use.objective,
    verify_use.constraints_without_variables,
    verify_use.undetermined_variables,
    verify_use.outputs,
    verify_use.unused,
    verify_use.unused_indices,
    verify_use.parameter_functions,
    verify_options.options,
    verify_convex.objective,
    verify_convex.constraints,
    verify_local.smoothness,
    verify_local.starts,
    verify_local.cones,
    verify_local.equations,
)


def verify(program: Program) -> list[Diagnostic]:
    """Every rule that the program breaks, in order of place."""
    found = [diagnostic for rule in RULES for diagnostic in rule(program)]
    unique = [d for i, d in enumerate(found) if d not in found[:i]]
    return sorted(unique, key=lambda d: d.primary.span.start if d.primary else -1)
