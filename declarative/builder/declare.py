"""Declarations: parameters, variables, named expressions and torch modules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, final

from declarative.builder.place import failure, here
from declarative.builder.scope import Declaration, Scope, check_name, join, tick
from declarative.builder.sizes import SizeLike, as_shape
from declarative.builder.term import Term, as_nested, as_term
from declarative.ir.expression import Binding, Constant, ExternCall, Let, Nested, Parameter, Variable
from declarative.ir.expression import Extern as ExternDeclaration
from declarative.ir.shape import Shape, show


def param(
    name: str,
    *sizes: SizeLike,
    nonneg: bool = False,
    nonpos: bool = False,
    psd: bool = False,
    nsd: bool = False,
    symmetric: bool = False,
    diag: bool = False,
    learned: bool = False,
    constant: Any = False,
    doc: str | None = None,
) -> Term:
    """A parameter of the problem: a scalar, a vector ``param("x", "n")`` or a matrix ``param("A", "m", "n")``.

    It is an argument of the layer's call, unless ``learned`` (an ``nn.Parameter`` of the layer) or ``constant``
    (``True``: given to the layer's constructor; or the numbers themselves). The attributes are promises that the
    analysis may use.
    """
    check_name(name, "param")
    order, at = tick(), here()
    shape, scope = as_shape(sizes, order)
    value = None if constant is True or constant is False else as_nested(constant)
    if value is not None:
        _check_value(name, shape, value)
    if learned and constant is not False:
        raise failure("E210", f"`{name}` is either learned or constant, not both", help="keep one")
    binding: Binding = "learned" if learned else "call" if constant is False else "constant"
    attributes = _attributes(nonneg=nonneg, nonpos=nonpos, psd=psd, nsd=nsd, symmetric=symmetric, diag=diag)
    node = Parameter(name, shape, attributes, doc, at, binding, value)
    return Term(node, join(scope, {name: Declaration(node, (order, 0))}))


def var(
    name: str,
    *sizes: SizeLike,
    nonneg: bool = False,
    nonpos: bool = False,
    psd: bool = False,
    nsd: bool = False,
    symmetric: bool = False,
    diag: bool = False,
    start: Any = None,
    doc: str | None = None,
) -> Term:
    """A variable, which the layer solves for. The attributes are constraints on it.

    ``start`` is the starting point of a local or root problem, an expression of parameters.
    """
    check_name(name, "var")
    order, at = tick(), here()
    shape, scope = as_shape(sizes, order)
    attributes = _attributes(nonneg=nonneg, nonpos=nonpos, psd=psd, nsd=nsd, symmetric=symmetric, diag=diag)
    node = Variable(name, shape, attributes, doc, at)
    if start is None:
        return Term(node, join(scope, {name: Declaration(node, (order, 0))}))
    point = as_term(start)
    declaration = Declaration(node, (order, 0), start=point.expression)
    return Term(node, join(scope, point.scope, {name: declaration}))


def let(name: str, value: Any) -> Term:
    """An expression with a name, evaluated once in the emitted code."""
    check_name(name, "let")
    term = as_term(value)
    node = Let(name, term.expression, at=here())
    return Term(node, join(term.scope, {name: Declaration(node, (tick(), 0))}))


def constant(value: Any) -> Term:
    """Numbers written out: ``constant([1, 2, 3])``, or ``constant(1) / 3``, kept as a quotient."""
    return Term(Constant(as_nested(value), at=here()), {})


@final
class Extern:
    """A torch module given to the layer's constructor; call it with one expression for each of its inputs."""

    def __init__(self, node: ExternDeclaration, scope: Scope) -> None:
        self.node, self.scope = node, scope

    @property
    def call_text(self) -> str:
        """How it is called."""
        return f"{self.node.name}({', '.join(name for name, _ in self.node.inputs)})"

    def __call__(self, *inputs: Any, **named: Any) -> Term:
        if named:
            raise failure("E212", f"`{self.node.name}` takes its inputs in order, not by name", help=self.call_text)
        terms = [as_term(value) for value in inputs]
        expected = self.node.inputs
        if len(terms) != len(expected):
            names = ", ".join(name for name, _ in expected)
            raise failure("E212", f"`{self.node.name}` takes {len(expected)} inputs ({names}), not {len(terms)}")
        for term, (name, shape) in zip(terms, expected, strict=True):
            given = term.expression.shape
            if given != shape:
                raise failure("E203", f"`{self.node.name}` takes {show(shape)} as `{name}`, not {show(given)}")
        result = ExternCall(self.node, tuple(term.expression for term in terms), at=here())
        return Term(result, join(self.scope, *(term.scope for term in terms)))


def extern(
    name: str,
    *,
    returns: tuple[SizeLike, ...],
    smooth: bool = False,
    doc: str | None = None,
    **inputs: SizeLike | tuple[SizeLike, ...],
) -> Extern:
    """A torch module: ``extern("decode", z="k", returns=("xhat", "d"), smooth=True)``.

    ``inputs`` are its arguments by name, each with its size or sizes; ``returns`` is the result's name, then its sizes.
    ``smooth`` promises that it is twice differentiable.
    """
    check_name(name, "extern")
    order, at = tick(), here()
    scopes: list[Scope] = []
    ports: list[tuple[str, Shape]] = []
    result, sizes = _result(name, returns)
    named = {**inputs, result: sizes}
    for port in named:
        if not port.isidentifier():
            raise failure("E205", f"`{port}` cannot name an input or the result of `{name}`", help=_EXTERN_HELP)
    if not inputs:
        raise failure("E110", "an extern names its inputs and its output", help=_EXTERN_HELP)
    if len(named) <= len(inputs):
        raise failure("E202", f"an input and the result of `{name}` are both called `{result}`")
    for position, (port, given) in enumerate(named.items()):
        shape, scope = as_shape(tuple(given) if isinstance(given, tuple | list) else (given,), order)
        scopes.append(
            {n: replace(d, order=(order, 2 * position + d.order[1])) if d.mentioned else d for n, d in scope.items()}
        )
        ports.append((port, shape))
    node = ExternDeclaration(name, tuple(ports[:-1]), ports[-1], smooth, doc, at=at)
    return Extern(node, join(*scopes, {name: Declaration(node, (order, 0))}))


_EXTERN_HELP = 'dl.extern("f", z="k", returns=("y", "d"))'


def _result(name: str, returns: object) -> tuple[str, tuple[SizeLike, ...]]:
    """The name and the sizes of an extern's result."""
    if isinstance(returns, str):
        help = f'`returns=("{returns}", "d")` for a vector, `returns=("{returns}",)` for a scalar'
        raise failure("E110", f"`returns` of `{name}` is a tuple: the result's name, then its sizes", help=help)
    if not isinstance(returns, tuple | list) or not returns or not isinstance(returns[0], str):
        given = "nothing" if returns is None or returns == () else f"`{returns!r}`"
        raise failure(
            "E110", f"`returns` of `{name}` begins with the result's name, and this is {given}", help=_EXTERN_HELP
        )
    return returns[0], tuple(returns[1:])


def _attributes(**given: bool) -> frozenset[str]:
    return frozenset(name for name, holds in given.items() if holds)


def _check_value(name: str, shape: Shape, value: Nested) -> None:
    given = Constant(value).shape
    if given != shape:
        raise failure("E211", f"`{name}` is declared {show(shape)}, but its value is {show(given)}")
