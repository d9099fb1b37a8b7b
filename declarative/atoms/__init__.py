"""The functions of the language, one a file, and their registry: one line per function."""

from __future__ import annotations

from declarative.atoms.add import ADD
from declarative.atoms.div import DIV
from declarative.atoms.matmul import MATMUL
from declarative.atoms.mul import MUL
from declarative.atoms.neg import NEG
from declarative.atoms.power import POWER
from declarative.atoms.quad_form import QUAD_FORM
from declarative.atoms.square import SQUARE
from declarative.atoms.sum_squares import SUM_SQUARES
from declarative.atoms.transpose import TRANSPOSE
from declarative.diagnostics.span import Span
from declarative.ir.atom import Atom, AtomError
from declarative.ir.expression import Call, Expression

OPERATORS = ("add", "neg", "mul", "div", "matmul", "power", "transpose")
"""Functions that are written with a sign of their own."""

ATOMS: dict[str, Atom] = {
    atom.name: atom
    for atom in (
        ADD,
        NEG,
        MUL,
        DIV,
        MATMUL,
        POWER,
        TRANSPOSE,
        QUAD_FORM,
        SQUARE,
        SUM_SQUARES,
    )
}


def call(name: str, *args: Expression, at: Span | None = None) -> Expression:
    """A function of the language applied; raises `AtomError` for a wrong number or shape of arguments.

    ``transpose`` of a vector or a scalar is the argument itself.
    """
    atom = ATOMS[name]
    _check_count(atom, len(args))
    if name == "transpose" and args[0].rank < 2:
        return args[0]
    return Call(atom, args, at=at)


def _check_count(atom: Atom, given: int) -> None:
    most = len(atom.arguments)
    least = most - atom.optional
    if given < least or (given > most and not atom.variadic):
        signature = f"{atom.name}({', '.join(atom.arguments)}{', ...' if atom.variadic else ''})"
        count = (
            f"{least}"
            if least == most and not atom.variadic
            else f"{least} or more"
            if atom.variadic
            else f"{least} to {most}"
        )
        plural = "s" if count != "1" else ""
        raise AtomError(f"`{atom.name}` takes {count} argument{plural}, not {given}", help=f"write {signature}")
