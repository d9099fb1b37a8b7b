"""The functions of the language, one a file, and their registry: one line per function."""

from __future__ import annotations

from declarative.atoms.abs import ABS
from declarative.atoms.add import ADD
from declarative.atoms.cholesky import CHOLESKY
from declarative.atoms.concat import CONCAT
from declarative.atoms.cos import COS
from declarative.atoms.cumsum import CUMSUM
from declarative.atoms.det import DET
from declarative.atoms.diag import DIAG
from declarative.atoms.diff import DIFF
from declarative.atoms.div import DIV
from declarative.atoms.entr import ENTR
from declarative.atoms.erf import ERF
from declarative.atoms.exp import EXP
from declarative.atoms.geo_mean import GEO_MEAN
from declarative.atoms.huber import HUBER
from declarative.atoms.inv import INV
from declarative.atoms.inv_pos import INV_POS
from declarative.atoms.kl_div import KL_DIV
from declarative.atoms.lambda_max import LAMBDA_MAX
from declarative.atoms.lambda_min import LAMBDA_MIN
from declarative.atoms.log import LOG
from declarative.atoms.log_det import LOG_DET
from declarative.atoms.log_sum_exp import LOG_SUM_EXP
from declarative.atoms.logistic import LOGISTIC
from declarative.atoms.matmul import MATMUL
from declarative.atoms.max import MAX
from declarative.atoms.maximum import MAXIMUM
from declarative.atoms.mean import MEAN
from declarative.atoms.min import MIN
from declarative.atoms.minimum import MINIMUM
from declarative.atoms.mul import MUL
from declarative.atoms.neg import NEG
from declarative.atoms.norm1 import NORM1
from declarative.atoms.norm2 import NORM2
from declarative.atoms.norm_fro import NORM_FRO
from declarative.atoms.norm_inf import NORM_INF
from declarative.atoms.norm_nuc import NORM_NUC
from declarative.atoms.outer import OUTER
from declarative.atoms.pos import POS
from declarative.atoms.power import POWER
from declarative.atoms.quad_form import QUAD_FORM
from declarative.atoms.quad_over_lin import QUAD_OVER_LIN
from declarative.atoms.reduction import Reduction
from declarative.atoms.rel_entr import REL_ENTR
from declarative.atoms.reshape import RESHAPE
from declarative.atoms.shapes import quoted
from declarative.atoms.sigmoid import SIGMOID
from declarative.atoms.sin import SIN
from declarative.atoms.softplus import SOFTPLUS
from declarative.atoms.sqrt import SQRT
from declarative.atoms.square import SQUARE
from declarative.atoms.sum import SUM
from declarative.atoms.sum_squares import SUM_SQUARES
from declarative.atoms.tanh import TANH
from declarative.atoms.trace import TRACE
from declarative.atoms.transpose import TRANSPOSE
from declarative.atoms.tv import TV
from declarative.atoms.vstack import VSTACK
from declarative.diagnostics.span import Span
from declarative.ir.atom import Atom, AtomError
from declarative.ir.expression import Call, Constant, Expression
from declarative.ir.show import show

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
        ABS,
        POS,
        MAX,
        MIN,
        MAXIMUM,
        MINIMUM,
        SUM,
        MEAN,
        SQUARE,
        SQRT,
        EXP,
        LOG,
        ENTR,
        REL_ENTR,
        KL_DIV,
        LOGISTIC,
        LOG_SUM_EXP,
        NORM1,
        NORM2,
        NORM_INF,
        NORM_FRO,
        NORM_NUC,
        SUM_SQUARES,
        QUAD_FORM,
        QUAD_OVER_LIN,
        HUBER,
        INV_POS,
        GEO_MEAN,
        LAMBDA_MAX,
        LAMBDA_MIN,
        LOG_DET,
        TRACE,
        DIAG,
        OUTER,
        CONCAT,
        VSTACK,
        RESHAPE,
        CUMSUM,
        DIFF,
        TV,
        TANH,
        SIGMOID,
        SOFTPLUS,
        SIN,
        COS,
        ERF,
        INV,
        CHOLESKY,
        DET,
    )
}


def call(name: str, *args: Expression, at: Span | None = None) -> Expression:
    """A function of the language applied; raises `AtomError` for a wrong number or shape of arguments.

    ``transpose`` of a vector or a scalar is the argument itself.
    """
    atom = ATOMS[name]
    _check_count(atom, args)
    if name == "transpose" and args[0].rank < 2:
        return args[0]
    return Call(atom, args, at=at)


def _check_count(atom: Atom, args: tuple[Expression, ...]) -> None:
    given = len(args)
    most = len(atom.arguments)
    least = most - atom.optional
    if given < least or (given > most and not atom.variadic):
        signature = f"{atom.name}({', '.join(atom.arguments)}{', ...' if atom.variadic else ''})"
        count = f"{least} or more" if atom.variadic else f"{least}" if least == most else f"{least} to {most}"
        plural = "" if count == "1" else "s"
        help = _of_several(atom, args) or f"write {signature}"
        raise AtomError(f"`{atom.name}` takes {count} argument{plural}, not {given}", help=help)


def _of_several(atom: Atom, args: tuple[Expression, ...]) -> str | None:
    """What is meant by a reduction with more than its one argument: entry by entry, or along an axis."""
    if not isinstance(atom, Reduction) or len(args) < 2:
        return None
    x, *rest = args
    axis = rest[0].value if len(rest) == 1 and x.rank == 2 and isinstance(rest[0], Constant) else None
    if axis in (0, 1):
        matrix, size = (quoted(x), x.shape[0]) if axis == 1 else (f"{quoted(x)}'", x.shape[1])
        what = "row" if axis == 1 else "column"
        return f"one {what} at a time: {atom.name}({matrix}[i]) == r[i] for i in 0..{size - 1}"
    if atom.name not in ("max", "min"):
        return None
    inside = ", ".join(show(arg) for arg in args)
    zero = next((p for p, arg in enumerate(args) if isinstance(arg, Constant) and arg.value == 0), None)
    positive = f", or pos({show(args[1 - zero])})" if atom.name == "max" and zero is not None and len(args) == 2 else ""
    return f"entry by entry: {atom.name}imum({inside}){positive}"
