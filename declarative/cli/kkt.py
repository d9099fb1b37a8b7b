"""The optimality system of a program, equation by equation, as text: what the implicit function theorem is applied to.

Where the coefficients of a term are known its gradient is written out, else it reads ``grad_x[term]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from declarative.canonical.normalise import Term
from declarative.cli.jacobian import Block, Entry, blocks
from declarative.cli.optimality import Gradient, Row, System, gradient, product, term_expression
from declarative.ir.expression import Call, Expression
from declarative.ir.shape import show as show_shape
from declarative.ir.show import show, show_ranges


def equations(system: System) -> list[tuple[str, str, str]]:
    """Label, equation and shape: the Lagrangian, stationarity in each variable, then every constraint's part of F."""
    pieces = [*map(term_expression, system.terms), *map(product, system.rows)]
    found = [("L", _sum(map(show, pieces)), "")]
    for variable in system.variables:
        text = _gradient(gradient(system, variable))
        found.append((f"grad_{variable.name} L", f"{text} = 0", show_shape(variable.shape)))
    for row in system.rows:
        found.append(_conditions(row))
    return found


def unknowns(system: System) -> str:
    """The stacked w, primal first."""
    parts = [f"{v.name} {show_shape(v.shape)}" for v in system.variables]
    return ", ".join([*parts, *(f"{r.multiplier} {show_shape(r.shape)}" for r in system.rows)])


def jacobian(system: System, *, root: bool = False) -> list[tuple[str, str, str]]:
    """The blocks of dF/dw that are not zero: row of F, part of w, block. A root problem has no gradients."""
    found = []
    before = None
    for block in blocks(system):
        if root and block.stationarity:
            continue
        found.append(("" if block.row == before else _row_label(block), block.column, _entry(block.entry)))
        before = block.row
    return found


def term_text(term: Term) -> str:
    """A term with its weight, as a program would write it."""
    return show(term_expression(term))


def _sum(pieces: Iterable[str]) -> str:
    """The pieces with their signs between them."""
    text = ""
    for piece in pieces:
        if not text:
            text = piece
        elif piece.startswith("-"):
            text += f" - {piece[1:]}"
        else:
            text += f" + {piece}"
    return text or "0"


def _gradient(found: Gradient) -> str:
    written = [] if found.known is None else [show(found.known)]
    return _sum([*written, *(_opaque(show(e), found.variable.name) for e in found.opaque)])


def _opaque(text: str, variable: str) -> str:
    sign = "-" if text.startswith("-") else ""
    return f"{sign}grad_{variable}[{text.removeprefix('-')}]"


def _conditions(row: Row) -> tuple[str, str, str]:
    """Feasibility and complementarity."""
    positive, negated = row.positive
    text, name = show(positive), show(row.symbol)
    factor = f"({text})" if isinstance(positive, Call) and positive.atom.name != "sum" else text
    of_family = f"  for {show_ranges(row.ranges)}" if row.ranges else ""
    match row.relation:
        case "==":
            text = f"{text} = 0{of_family}"
        case "psd":
            text = f"{name} in psd, {text} in psd, trace({name} @ {factor}) = 0{of_family}"
        case _:
            text = f"{name} * {factor} = 0, {name} >= 0, {text} {'>=' if negated else '<='} 0{of_family}"
    return row.multiplier, text, show_shape(row.shape)


# The Jacobian


def _row_label(block: Block) -> str:
    return f"grad_{block.row} L" if block.stationarity else block.row


def _entry(entry: Entry) -> str:
    inside = "" if entry.expression is None else show(entry.expression)
    transposed = "'" if entry.transposed else ""
    weight = entry.weight
    match entry.kind:
        case "known":
            text = f"{_operand(inside)}{transposed}" if transposed else inside
        case "hessian":
            text = f"hess_{'_'.join(entry.of)} L"
        case "derivative":
            text = f"D_{entry.of[0]}[{inside}]{transposed}"
        case "cone" if weight is None:
            text = f"dZ -> {_operand(inside)} @ dZ"
        case "cone":
            variable = entry.of[0]
            moved = f"d{variable}" if inside == variable else f"D_{variable}[{inside}](d{variable})"
            text, weight = f"d{variable} -> {moved} @ {show(weight)}", None
    if weight is not None:
        text = _diagonal(weight) + (f" @ {text}" if weight.rank else f" * {text}") if text else _diagonal(weight)
    return text + (f"  for {show_ranges(entry.ranges)}" if entry.ranges else "")


def _diagonal(weight: Expression) -> str:
    """A weight as the diagonal matrix that multiplies a block; the entries of a matrix are taken as one vector."""
    return (f"{show(weight)}", f"diag({show(weight)})", f"diag(vec({show(weight)}))")[weight.rank]


def _operand(text: str) -> str:
    """In parentheses, unless it is a name or a call."""
    return text if re.fullmatch(r"\w+(\(\w+\))?", text) else f"({text})"
