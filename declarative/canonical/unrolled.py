"""How many terms a program has when its sums and indexed constraints are written out, counted without writing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError, Label
from declarative.ir.expression import Expression, IndexRange, Sum
from declarative.ir.program import Program

LARGEST = 50_000
"""Terms; each becomes an expression of its own, which cvxpy then reduces one by one."""


def refuse_many_terms(program: Program, values: Mapping[str, int]) -> None:
    """Raise `DiagnosticError` E603 where writing the program out would take more than `LARGEST` terms."""
    objective = program.objective.expression
    parts = [] if objective is None else [(terms(objective, values), objective.span)]
    for constraint in program.constraints:

        def of_one(inner: Mapping[str, int], sides: tuple[Expression, ...] = constraint.terms) -> int:
            return sum(terms(side, inner) for side in sides)

        parts.append((_product(constraint.indices, values, of_one), constraint.at))
    for count, at in parts:
        if count > LARGEST:
            raise DiagnosticError(
                [
                    Diagnostic(
                        "E603",
                        f"`{program.name}` is too large for the conic form: written out, this has {count:,} terms",
                        Label(at, "here") if at is not None else None,
                        notes=(f"the limit is {LARGEST:,}",),
                        help="write sums and constraints of whole vectors in place of indices: sum(exp(x)), x <= 1",
                    )
                ]
            )


def terms(expression: Expression, values: Mapping[str, int]) -> int:
    """Leaves of an expression with its sums written out, at least one; ranges that hang on an outer index at their
    longest."""
    if isinstance(expression, Sum):
        return max(1, _product(expression.ranges, values, lambda inner: terms(expression.body, inner)))
    return max(1, sum(terms(child, values) for child in expression.children))


def _product(
    ranges: tuple[IndexRange, ...], values: Mapping[str, int], inside: Callable[[Mapping[str, int]], int]
) -> int:
    if not ranges:
        return inside(values)
    index, *rest = ranges
    first, last = index.first.evaluate(values), index.last.evaluate(values)
    if last < first:
        return 0
    # Sizes are affine, so the count is the largest at one end of the range.
    ends = {first, last}
    return (last - first + 1) * max(_product(tuple(rest), {**values, index.name: end}, inside) for end in ends)
