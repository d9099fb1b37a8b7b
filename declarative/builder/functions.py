"""The functions of the language as Python functions, made from their registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from declarative.atoms import ATOMS, OPERATORS
from declarative.builder.term import Term, apply
from declarative.ir.atom import Atom


def _function(atom: Atom) -> Callable[..., Term]:
    def function(*args: Any) -> Term:
        return apply(atom.name, *args)

    function.__name__ = function.__qualname__ = atom.name
    function.__doc__ = f"{atom.doc}\n\n{atom.formula}"
    return function


FUNCTIONS: dict[str, Callable[..., Term]] = {
    name: _function(atom) for name, atom in ATOMS.items() if name not in OPERATORS or name == "power"
}
"""Every function that a program may call by name."""
