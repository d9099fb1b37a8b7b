"""Expressions of parameters alone: which occur, which are affine uses of bare parameters, what is known of one."""

from __future__ import annotations

from declarative.ir.definiteness import is_nsd, is_psd
from declarative.ir.expression import Call, Expression, ExternCall, Index, Let, Parameter, Symbol
from declarative.ir.traverse import walk


def is_parametric(expression: Expression) -> bool:
    """Whether data occur in it: parameters, and what only torch can evaluate."""
    return any(isinstance(node, Parameter) or _of_torch(node) for node in walk(expression))


def _of_torch(node: Expression) -> bool:
    """Whether only torch can evaluate it."""
    return isinstance(node, ExternCall) or (
        isinstance(node, Call) and (node.atom.parameters_only or node.atom.local_only)
    )


def is_affine_use(expression: Expression) -> bool:
    """Whether it uses bare parameters in operations that are affine in them and keep a known sign known."""
    match expression:
        case Parameter():
            return True
        case Let(body=body) | Index(base=body):
            return is_affine_use(body)
        case Call(atom=atom, args=args) if atom.name in ("add", "neg", "transpose"):
            return all(is_affine_use(arg) or _is_number(arg) for arg in args)
        case Call(atom=atom, args=(a, b)) if atom.name == "mul":
            return (_is_number(a) and is_affine_use(b)) or (_is_number(b) and is_affine_use(a))
        case Call(atom=atom, args=(a, b)) if atom.name == "div":
            return is_affine_use(a) and _is_number(b)
    return False


def _is_number(expression: Expression) -> bool:
    return expression.is_constant and not is_parametric(expression)


def known_attributes(expression: Expression) -> frozenset[str]:
    """What is known of an expression of parameters, as attributes of the entry that stands for it."""
    known = {"nonneg": expression.sign.is_nonneg, "nonpos": expression.sign.is_nonpos}
    if isinstance(expression, Symbol):
        return expression.attributes
    if expression.rank == 2:
        known |= {"psd": is_psd(expression), "nsd": is_nsd(expression)}
    return frozenset(name for name, holds in known.items() if holds)
