"""The objective where a solver ends: on the edge of its domain, or by rounding a little beyond it.

A solution may have an entry of zero where the objective has a square root or an entropy term of it, or one of -1e-27.
The function ends there, and its slope is infinite. What lies on the edge is held there: the infinite slope meets a
derivative of zero, and the product is no number. So the slope is a finite one there, large as at an entry that solvers
just tell from zero. The derivative by a bound that holds the entry is infinite in truth; it is large, and of its sign.

``x log x`` is read as the entropy term that it is, for the logarithm of zero times zero is no number.
"""

from __future__ import annotations

from declarative.atoms.entropy import entropy_term
from declarative.ir.expression import Call, Expression
from declarative.ir.traverse import transform, walk, without_lets


def at_the_edge(objective: Expression) -> Expression | None:
    """The objective with its lets opened, to be printed ``at_edge``; None where none of its functions has an edge."""
    opened = transform(without_lets(objective), _as_entropy)
    return opened if any(isinstance(e, Call) and e.atom.has_edge(*e.args) for e in walk(opened)) else None


def _as_entropy(e: Expression) -> Expression | None:
    if isinstance(e, Call) and e.atom.name in ("mul", "matmul") and entropy_term(*e.args) is not None:
        return e.atom.expand(*e.args)
    return None
