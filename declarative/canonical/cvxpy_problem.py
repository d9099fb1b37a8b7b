"""A parametric program written in cvxpy, which is handed in: parameters, variables, constraints, objective.

A symmetric variable is made of its lower triangle, a diagonal one of its diagonal, by a constant linear map of its free
entries, so that no attribute of cvxpy's changes what the free entries are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from declarative.atoms.constants import number
from declarative.canonical.instantiate import Relation, numbers
from declarative.canonical.parameters import is_parametric
from declarative.canonical.parametrise import ParametricProgram
from declarative.ir.definiteness import is_psd
from declarative.ir.expression import At, Call, Constant, Expression, Index, Parameter, Range, Variable

Ints = NDArray[np.int64]

SYMMETRIC = frozenset({"symmetric", "psd", "nsd"})


class BridgeError(Exception):
    """cvxpy declined the program; the message is its own."""


@dataclass(frozen=True)
class PosedVariable:
    """A variable as cvxpy has it: ``free`` are its free entries, ``places[i]`` the one that entry i is (-1: zero)."""

    shape: tuple[int, ...]
    free: Any
    places: Ints
    whole: Any


@dataclass
class _Translation:
    """Expressions to cvxpy's, each sub-expression once."""

    cp: Any
    symbols: dict[str, Any]
    known: dict[Expression, Any] = field(default_factory=dict)

    def __call__(self, expression: Expression) -> Any:
        if expression not in self.known:
            self.known[expression] = self._translate(expression)
        return self.known[expression]

    def _translate(self, expression: Expression) -> Any:
        value = number(expression)
        if value is not None:
            return value
        match expression:
            case Constant():
                return self.cp.Constant(np.array(expression.value))
            case Parameter(name=name) | Variable(name=name):
                return self.symbols[name]
            case Index(base=base, subscripts=subscripts):
                return self(base)[tuple(map(_key, subscripts))]
            case Call(atom=atom, args=args):
                inner = [self(arg) for arg in args]
                if atom.name == "quad_form" and is_psd(args[1]) and is_parametric(args[1]):
                    inner[1] = self.cp.psd_wrap(inner[1])
                return atom.to_cvxpy(self.cp, *inner)
        raise TypeError(f"{type(expression).__name__} has no place in a cone program")


@dataclass(frozen=True)
class Posed:
    """The problem in cvxpy; ``constraints`` are those of the program's relations, in order."""

    problem: Any
    parameters: tuple[Any, ...]
    variables: tuple[PosedVariable, ...]
    constraints: tuple[Any, ...]


def pose(cp: Any, program: ParametricProgram) -> Posed:
    """The program in ``cp``, the module cvxpy itself; raises `BridgeError` where a function declines its arguments."""
    parameters = tuple(_parameter(cp, entry.symbol) for entry in program.theta)
    variables = tuple(_variable(cp, variable) for variable in (*program.variables, *program.lifted))
    translate = _Translation(cp, {entry.symbol.name: p for entry, p in zip(program.theta, parameters, strict=True)})
    names = [variable.name for variable in (*program.variables, *program.lifted)]
    translate.symbols |= {name: posed.whole for name, posed in zip(names, variables, strict=True)}
    try:
        constraints = tuple(_constraint(translate, relation) for relation in program.relations)
        definitions = [_constraint(translate, relation) for relation in program.definitions]
        # A variable that occurs nowhere else is kept: its gradient and its value are asked for all the same.
        presence = sum(cp.sum(0 * posed.free) for posed in variables if posed.free.size)
        objective = cp.Minimize(translate(program.objective) + presence)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise BridgeError(str(error)) from error
    attributes = [c for v, p in zip(program.variables, variables, strict=False) for c in _definite(v, p)]
    problem = cp.Problem(objective, [*constraints, *definitions, *attributes])
    return Posed(problem, parameters, variables[: len(program.variables)], constraints)


def _parameter(cp: Any, symbol: Parameter) -> Any:
    """A cvxpy parameter with the sign that is known. The reduction evaluates the program once, so it has a value."""
    nonneg = symbol.sign.is_nonneg
    parameter = cp.Parameter(numbers(symbol.shape), nonneg=nonneg, nonpos=symbol.sign.is_nonpos and not nonneg)
    parameter.value = np.zeros(parameter.shape)
    return parameter


def _variable(cp: Any, variable: Variable) -> PosedVariable:
    """A symmetric matrix is made of its lower triangle, row by row, a diagonal one of its diagonal."""
    shape = numbers(variable.shape)
    nonneg, nonpos = "nonneg" in variable.attributes, "nonpos" in variable.attributes
    places = _free_places(variable)
    if places is None:
        whole = cp.Variable(shape, nonneg=nonneg, nonpos=nonpos)
        return PosedVariable(shape, whole, np.arange(prod(shape)), whole)
    free = cp.Variable(int(places.max(initial=-1)) + 1, nonneg=nonneg, nonpos=nonpos)
    (filled,) = np.nonzero(places >= 0)
    spread = sp.csr_array((np.ones(filled.size), (filled, places[filled])), shape=(places.size, free.size))
    return PosedVariable(shape, free, places, cp.reshape(spread @ free, shape, order="C"))


def _free_places(variable: Variable) -> Ints | None:
    """Which free entry each entry of a structured matrix is, row by row; None for a matrix without structure."""
    if variable.rank != 2:
        return None
    rows, columns = np.indices(numbers(variable.shape))
    if "diag" in variable.attributes:
        return np.asarray(np.where(rows == columns, rows, -1).ravel(), dtype=np.int64)
    if variable.attributes & SYMMETRIC:
        i, j = np.maximum(rows, columns), np.minimum(rows, columns)
        return np.asarray((i * (i + 1) // 2 + j).ravel(), dtype=np.int64)
    return None


def _definite(variable: Variable, posed: PosedVariable) -> Iterator[Any]:
    """The attributes psd and nsd as constraints; a diagonal matrix is semidefinite by the signs of its entries."""
    is_diagonal = "diag" in variable.attributes
    if "psd" in variable.attributes:
        yield posed.free >= 0 if is_diagonal else posed.whole >> 0
    if "nsd" in variable.attributes:
        yield posed.free <= 0 if is_diagonal else posed.whole << 0


def _constraint(translate: Callable[[Expression], Any], relation: Relation) -> Any:
    left = translate(relation.left)
    if relation.right is None:
        return left >> 0
    right = translate(relation.right)
    # A number on the left of `==` would hand the comparison to the right, and its dual would change sign.
    return left - right == 0 if relation.kind == "equal" else left <= right


def _key(subscript: At | Range) -> int | slice:
    if isinstance(subscript, At):
        return subscript.index.evaluate({})
    return slice(subscript.first.evaluate({}), subscript.last.evaluate({}) + 1)
