r"""An expression as mathematics in LaTeX, in the notation of papers: ``x^\top y``, ``\lVert x \rVert_1``, ``\sum_i``.

Products of matrices and by scalars are written side by side, products entry by entry with ``\odot``. A sum of a vector
that is computed entry by entry is a sum over an index, any other is ``\mathbf{1}^\top x``. Functions bring their own
notation (`declarative.ir.atom.Atom.latex`); names and numbers are in `declarative.ir.latex_words`. Needs amsmath.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from declarative.ir.atom import Level
from declarative.ir.expression import (
    At,
    Call,
    Constant,
    Expression,
    ExternCall,
    Index,
    IndexRange,
    Let,
    Nested,
    Range,
    SizeValue,
    Subscript,
    Sum,
    Symbol,
)
from declarative.ir.latex_words import name, number, size, subscripted
from declarative.ir.matrices import Full, Identity
from declarative.ir.shape import Size
from declarative.ir.traverse import rebuild, walk

SUM, ENTRYWISE, PRODUCT, FUNCTION, ATOM = range(1, 6)
"""How tightly text holds together: ``a + b``, products entry by entry, ``a b``, ``f(a)`` and powers, one symbol."""

LEVELS: dict[Level, int] = {"sum": SUM, "product": PRODUCT, "function": FUNCTION, "atom": ATOM}
TALL = re.compile(r"\\frac|\\sum|\\left|\\begin")
DELIMITERS = {"(": r"\left(", ")": r"\right)"} | {
    rf"\{side}{kind}": rf"\{way}\{side}{kind}"
    for kind in ("vert", "Vert")
    for side, way in (("l", "left"), ("r", "right"))
}
ENTRYWISE_FUNCTIONS = (
    *("add", "neg", "mul", "div", "power", "square", "abs", "pos", "sqrt", "exp", "log"),
    *("entr", "rel_entr", "kl_div", "huber", "logistic", "inv_pos", "maximum", "minimum"),
)
"""What is summed over an index where it stands under a sum."""


def latex(expression: Expression) -> str:
    """The expression in LaTeX's math mode."""
    return _latex(expression)[0]


def latex_ranges(ranges: Sequence[IndexRange]) -> str:
    r"""``t = 0, \dots, T-1`` of every index."""
    return r",\; ".join(rf"{name(r.name)} = {size(r.first)}, \dots, {size(r.last)}" for r in ranges)


def parenthesised(text: str) -> str:
    """In parentheses that are as high as what they hold."""
    return rf"\left({text}\right)" if TALL.search(text) else f"({text})"


def summed(text: str, ranges: Sequence[IndexRange]) -> str:
    r"""The text behind a ``\sum`` for every range."""
    signs = "".join(rf"\sum_{{{name(r.name)}={size(r.first)}}}^{{{size(r.last)}}} " for r in ranges)
    return f"{signs}{text}"


def within(expression: Expression, level: int) -> str:
    """The expression as an operand of something that holds together as tightly."""
    text, own = _latex(expression)
    return text if own >= level else parenthesised(text)


def _latex(expression: Expression) -> tuple[str, int]:
    """The text and its level."""
    match expression:
        case Constant(value):
            return _constant(value)
        case SizeValue(value):
            terms = len(value.terms) + (value.constant != 0)
            return size(value), SUM if terms > 1 or size(value).startswith("-") else ATOM
        case Symbol() | Let():
            return name(expression.name), ATOM
        case Index(base, subscripts):
            return _index(base, subscripts), ATOM
        case Sum(body, ranges):
            return summed(within(body, PRODUCT), ranges), PRODUCT
        case ExternCall(extern, args):
            return f"{name(extern.name)}{parenthesised(', '.join(map(latex, args)))}", FUNCTION
        case Identity():
            return "I", ATOM
        case Full(value, ()):
            return number(value), ATOM if value >= 0 else SUM
        case Full(value):
            if value in (0, 1):
                return rf"\mathbf{{{value:g}}}", ATOM
            return rf"{number(value)} \, \mathbf{{1}}", PRODUCT if value >= 0 else SUM
        case Call():
            return _call(expression)
    raise TypeError(f"{type(expression).__name__} has no notation")


def _constant(value: Nested) -> tuple[str, int]:
    if not isinstance(value, tuple):
        text = number(value)
        return text, SUM if text.startswith("-") else PRODUCT if r"\cdot" in text else ATOM
    if any(isinstance(item, tuple) for item in value):
        rows = [" & ".join(_elided(row if isinstance(row, tuple) else (row,), r"\cdots")) for row in value]
        return r"\begin{bmatrix} " + r" \\ ".join(rows) + r" \end{bmatrix}", ATOM
    entries = ", ".join(_elided(value, r"\dots"))
    return f"({entries})", ATOM


def _elided(values: tuple[Nested, ...], dots: str) -> list[str]:
    """Numbers, the middle of many left out."""
    texts = [_constant(value)[0] for value in values]
    return texts if len(texts) <= 8 else [*texts[:3], dots, texts[-1]]


def _index(base: Expression, subscripts: Sequence[Subscript]) -> str:
    marks = ",".join(f"{size(s.first)}:{size(s.last)}" if isinstance(s, Range) else size(s.index) for s in subscripts)
    if isinstance(base, Symbol | Let):
        return subscripted(base.name, marks)
    return f"{parenthesised(latex(base))}_{{{marks}}}"


def _call(call: Call) -> tuple[str, int]:
    kind, args = call.atom.name, call.args
    match kind:
        case "add":
            return _added(args[0], args[1]), SUM
        case "neg":
            return _negated(args[0])
        case "mul":
            return _product(args[0], args[1])
        case "div":
            return _quotient(args[0], args[1])
        case "matmul":
            return _matmul(args[0], args[1])
        case "sum":
            return _total(args[0])
        case "mean" if args[0].rank == 1:
            total, _ = _total(args[0])
            return rf"\tfrac{{1}}{{{size(args[0].shape[0])}}} {total}", PRODUCT
    return _from_template(call), LEVELS[call.atom.latex_level]


def _negated(e: Expression) -> tuple[str, int]:
    text, level = _latex(e)
    if text.startswith("-") and _is_one_term(e):
        return text[1:], PRODUCT
    return f"-{text if level >= ENTRYWISE else parenthesised(text)}", SUM


def _added(left: Expression, right: Expression) -> str:
    text = latex(right)
    if text.startswith("-"):
        return f"{latex(left)} - {text[1:]}" if _is_one_term(right) else f"{latex(left)} + {parenthesised(text)}"
    return f"{latex(left)} + {text}"


def _is_one_term(e: Expression) -> bool:
    """Whether a minus sign before the expression's text belongs to all of it."""
    return not (isinstance(e, Call) and e.atom.name in ("add", "kl_div")) and not isinstance(e, SizeValue)


def _product(a: Expression, b: Expression) -> tuple[str, int]:
    """By a scalar side by side, else entry by entry."""
    if a.rank and b.rank:
        return rf"{within(a, ENTRYWISE)} \odot {within(b, ENTRYWISE)}", ENTRYWISE
    return beside(within(a, PRODUCT), within(b, PRODUCT)), PRODUCT


def _quotient(a: Expression, b: Expression) -> tuple[str, int]:
    if b.rank:
        return rf"{within(a, PRODUCT)} \oslash {within(b, FUNCTION)}", ENTRYWISE
    plain = all(isinstance(e, Constant | SizeValue | Symbol) for e in (a, b))
    return rf"\{'t' if plain else ''}frac{{{latex(a)}}}{{{latex(b)}}}", PRODUCT


def _matmul(a: Expression, b: Expression) -> tuple[str, int]:
    if a.rank == 1:
        left = f"{superscripted(a)}^\\top"
        return beside(left, within(b, PRODUCT)), PRODUCT
    return beside(within(a, PRODUCT), within(b, PRODUCT)), PRODUCT


def superscripted(e: Expression) -> str:
    """The expression as what an exponent stands on."""
    return within(e, ATOM)


def beside(a: str, b: str) -> str:
    r"""Two factors: a dot before a number, a little room beside a word."""
    if re.match(r"[\d]|\\tfrac\{\d", b) and re.search(r"[\d})]$", a):
        return rf"{a} \cdot {b}"
    words = r"\\mathrm\{\w\w|\\operatorname"
    return rf"{a} \, {b}" if re.search(words, a) or re.match(words, b) else f"{a} {b}"


def _total(e: Expression) -> tuple[str, int]:
    """The sum of all entries."""
    if e.rank == 0:
        return _latex(e)
    if e.rank == 1 and isinstance(e, Call) and e.atom.name in ENTRYWISE_FUNCTIONS:
        index = _fresh_index(e)
        entry = _entry(e, Size.of(index))
        text = latex(entry)
        if text.startswith("-") and _is_one_term(entry):
            return rf"-\sum_{{{index}}} {text[1:]}", SUM
        return rf"\sum_{{{index}}} {within(entry, PRODUCT)}", PRODUCT
    ones = r"\mathbf{1}^\top"
    return (f"{ones} {within(e, PRODUCT)}" + (r" \mathbf{1}" if e.rank == 2 else "")), PRODUCT


def _fresh_index(e: Expression) -> str:
    """A letter that nothing in the expression is called."""
    used = {letter for node in walk(e) for letter in re.findall(r"\w+", f"{_named(node)}")}
    return next(letter for letter in "ijklpqrsabcdefgh" if letter not in used)


def _named(node: Expression) -> str:
    match node:
        case Symbol() | Let():
            return node.name
        case Index(subscripts=subscripts):
            return " ".join(f"{s.first} {s.last}" if isinstance(s, Range) else str(s.index) for s in subscripts)
        case SizeValue(value):
            return str(value)
        case Sum(ranges=ranges):
            return " ".join(r.name for r in ranges)
    return ""


def _entry(e: Expression, index: Size) -> Expression:
    """One entry of a vector that is computed entry by entry."""
    if e.rank == 0:
        return e
    if isinstance(e, Full):
        return Constant(e.number)
    if isinstance(e, Call) and e.atom.name in ENTRYWISE_FUNCTIONS:
        return rebuild(e, tuple(_entry(arg, index) for arg in e.args))
    if isinstance(e, Index) and len(e.subscripts) < e.base.rank and all(isinstance(s, At) for s in e.subscripts):
        return Index(e.base, (*e.subscripts, At(index)))
    return Index(e, (At(index),))


def _from_template(call: Call) -> str:
    """The function's own notation with its arguments in place."""
    template = call.atom.latex_of(*call.args)
    filled = {f"#{i}": latex(arg) for i, arg in enumerate(call.args, 1)} | {"#*": ", ".join(map(latex, call.args))}
    for i, arg in enumerate(call.args, 1):
        filled[f"@{i}^"] = f"{within(arg, ATOM)}^"
        filled[f"@{i}"] = within(arg, PRODUCT if template != f"@{i}" else SUM)
    slot = re.compile(r"@\d\^|[#@]\d|#\*")
    used = "".join(filled[m] for m in slot.findall(template))
    if TALL.search(used):
        marks = "|".join(sorted(map(re.escape, DELIMITERS), key=len, reverse=True))
        template = re.sub(marks, lambda m: DELIMITERS[m[0]], template)
    return slot.sub(lambda m: filled[m[0]], template)
