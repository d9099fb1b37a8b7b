r"""``declarative explain --latex``: a program as a LaTeX document, from the problem to the derivative of its solution.

The page states the problem with its domains, its normal form, the Lagrangian and the system F(theta, w) = 0, the blocks
of its Jacobian and what the backward computes. It needs amsmath, and compiles with pdflatex, xelatex and lualatex.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from declarative.canonical.algebra import call
from declarative.canonical.normalise import NormalConstraint, NormalForm
from declarative.cli.jacobian import Block, Entry, blocks
from declarative.cli.optimality import Row, System, gradient, product, term_expression, tidy
from declarative.ir.expression import Call, Expression, IndexRange, Symbol
from declarative.ir.latex import ATOM, PRODUCT, beside, latex, latex_ranges, within
from declarative.ir.latex_words import name, prose, size
from declarative.ir.program import Program
from declarative.ir.shape import Shape
from declarative.ir.traverse import without_lets

WIDTH = 62
"""Characters, as they will be seen, that a line of a display holds."""
MATRIX = 4
"""The most blocks to a side that are shown as a matrix."""

HEAD = r"""\documentclass[11pt]{article}
\usepackage[utf8]{inputenc}
\usepackage[margin=25mm]{geometry}
\usepackage{amsmath}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\begin{document}
"""
SIGNS = {"<=": r"\le", ">=": r"\ge", "==": "=", "psd": r"\succeq 0"}
DOMAINS = {"nonneg": r"\ge 0", "nonpos": r"\le 0", "psd": r"\succeq 0", "nsd": r"\preceq 0"}

Line = tuple[str, ...]
"""The cells of a display's line."""


def page(program: Program, normal: NormalForm | None, system: System, backward: Sequence[str]) -> str:
    """The document. ``backward`` are lines of LaTeX on the derivative."""
    root = program.objective.sense == "solve"
    parts = [rf"\section*{{{prose(program.name)}}}"]
    if program.doc:
        parts.append(prose(program.doc))
    parts.append(_symbols(program))
    parts.append(_section("Problem", _display(_problem(program))))
    if program.lets:
        parts.append("where")
        parts.append(_display((rf"{name(let.name)} &= {latex(let.body)}",) for let in program.lets))
    if normal is not None:
        parts.append(_section("Normal form", _display(_normal(normal))))
    if not root:
        parts.append(_section("Lagrangian", _display(_lagrangian(system))))
    title = r"Equations $F(\theta, w) = 0$" if root else r"KKT system $F(\theta, w) = 0$"
    parts.append(_section(title, _unknowns(system, root) + "\n" + _display(_system(system, root))))
    parts.append(_section(r"Jacobian $\partial F / \partial w$", _jacobian(system, root)))
    parts.append(_section("Backward", "\n".join(backward)))
    return HEAD + "\n\n".join(parts) + "\n\\end{document}\n"


def _section(title: str, body: str) -> str:
    return f"\\subsection*{{{title}}}\n{body}"


def _display(lines: Iterable[Line], gap: str = "") -> str:
    r"""An ``align*``, or nothing."""
    rows = [" & ".join(re.sub("^-", "{-}", cell) for cell in cells) for cells in lines]
    return "" if not rows else "\\begin{align*}\n" + f" \\\\{gap}\n".join(rows) + "\n\\end{align*}"


def _symbols(program: Program) -> str:
    """What is given and what is sought, with the sets they are in and their descriptions."""
    rows = []
    for word, group in (("Given", program.parameters), ("Find", program.variables)):
        for position, symbol in enumerate(group):
            doc = prose(symbol.doc) if symbol.doc else ""
            rows.append(rf"{'' if position else word} & ${_domain(symbol)}$ & {doc} \\")
    for extern in program.externs:
        inputs = r" \times ".join(_space(shape) for _, shape in extern.inputs)
        doc = prose(extern.doc) if extern.doc else ("a twice differentiable network" if extern.smooth else "a network")
        rows.append(rf" & ${name(extern.name)} \colon {inputs} \to {_space(extern.output[1])}$ & {doc} \\")
    body = "\n".join(rows)
    return f"\\medskip\n\\begin{{tabular}}{{@{{}}l@{{\\quad}}l@{{\\quad}}p{{75mm}}@{{}}}}\n{body}\n\\end{{tabular}}"


def _domain(symbol: Symbol) -> str:
    attributes = symbol.attributes
    space = _space(symbol.shape)
    if attributes & {"psd", "nsd", "symmetric"}:
        space = rf"\mathbf{{S}}^{{{size(symbol.shape[0])}}}"
    conditions = [rf"{name(symbol.name)} {DOMAINS[a]}" for a in sorted(attributes) if a in DOMAINS]
    if "diag" in attributes:
        conditions.append(rf"{name(symbol.name)} \text{{ diagonal}}")
    return r",\; ".join([rf"{name(symbol.name)} \in {space}", *conditions])


def _space(shape: Shape) -> str:
    factors = [size(s) for s in shape]
    if len(factors) > 1:
        factors = [f"({text})" if re.search(r".[-+]", text) else text for text in factors]
    sizes = r" \times ".join(factors)
    return rf"\mathbf{{R}}^{{{sizes}}}" if shape else r"\mathbf{R}"


# The problem


def _problem(program: Program) -> Iterator[Line]:
    objective = program.objective
    if objective.expression is not None:
        verb = f"{objective.sense}{' locally' if objective.local else ''}"
        yield from _labelled(rf"\text{{{verb}}}", _summands(objective.expression))
    word = "solve" if objective.sense == "solve" else "subject to"
    for position, constraint in enumerate(program.constraints):
        label = rf"\text{{{word}}}" if not position else ""
        relation = f" {SIGNS[constraint.relation]} "
        text = relation.join(map(latex, constraint.terms)) + (relation.rstrip() if constraint.relation == "psd" else "")
        tag = rf" \tag*{{({prose(constraint.name)})}}" if constraint.name else ""
        yield f"{label} \\quad", text + _for_all(constraint.indices) + tag


def _normal(normal: NormalForm) -> Iterator[Line]:
    yield from _labelled(r"\text{minimize}", [latex(term_expression(t)) for t in normal.terms])
    for position, constraint in enumerate(normal.constraints):
        text = latex(tidy(without_lets(constraint.expression)))
        sign = r"\succeq 0" if constraint.relation == "psd" else f"{SIGNS[constraint.relation]} 0"
        label = r"\text{subject to}" if not position else ""
        yield f"{label} \\quad", f"{text} {sign}{_for_all(constraint.ranges)}{_side(constraint)}"


def _side(constraint: NormalConstraint) -> str:
    if constraint.origin is None:
        return ""
    side = f", {constraint.side}" if constraint.side != "only" else ""
    return rf" \tag*{{({prose(constraint.origin)}{side})}}"


def _summands(e: Expression) -> list[str]:
    """The terms of a sum, each with its sign."""
    if isinstance(e, Call) and e.atom.name == "add":
        left, right = e.args
        return [*_summands(left), *_summands(right)]
    return [latex(e)]


def _for_all(ranges: Sequence[IndexRange]) -> str:
    return rf" \qquad \forall\, {latex_ranges(ranges)}" if ranges else ""


# The optimality system


def _lagrangian(system: System) -> Iterator[Line]:
    pieces = [latex(e) for e in (*map(term_expression, system.terms), *map(product, system.rows))]
    yield from _labelled("L =", pieces, gap="{}")


def _unknowns(system: System, root: bool) -> str:
    parts = [(name(v.name), v.shape) for v in system.variables]
    parts += [] if root else [(name(row.multiplier), row.shape) for row in system.rows]
    shown = [rf"{text} \in {_space(shape)}" for text, shape in parts]
    return "with $w$ made of " + ", ".join(f"${text}$" for text in shown)


def _system(system: System, root: bool) -> Iterator[Line]:
    if not root:
        for variable in system.variables:
            found = gradient(system, variable)
            pieces = [] if found.known is None else _summands(found.known)
            for e in found.opaque:
                text = latex(e)
                sign, text = ("-", text[1:]) if text.startswith("-") else ("", text)
                pieces.append(rf"{sign}\nabla_{{{name(variable.name)}}}\left[{text}\right]")
            pieces = pieces or ["0"]
            pieces[-1] += " = 0"
            yield from _labelled(rf"\nabla_{{{name(variable.name)}}} L ={{}}", pieces, gap="")
    for row in system.rows:
        parts, quantifier = _conditions(row), _for_all(row.ranges)
        text = r",\quad ".join(parts) + quantifier
        if len(parts) > 1 and visible(text) > WIDTH:
            yield "", parts[0] + ","
            text = r",\quad ".join(parts[1:]) + quantifier
        yield "", text


def _conditions(row: Row) -> list[str]:
    """Complementarity, then feasibility."""
    e, negated = row.positive
    text, symbol = latex(e), latex(row.symbol)
    match row.relation:
        case "==":
            return [f"{text} = 0"]
        case "psd":
            product_of_both = latex(call("matmul", row.symbol, e))
            return [f"{product_of_both} = 0", rf"{symbol} \succeq 0", rf"{text} \succeq 0"]
    slack = latex(call("mul", row.symbol, e))
    order = r"\ge" if negated else r"\le"
    return [f"{slack} = 0", rf"{symbol} \ge 0", f"{text} {order} 0"]


# The Jacobian


def _jacobian(system: System, root: bool) -> str:
    """A matrix of blocks where it is small, else the blocks that are not zero."""
    found = [b for b in blocks(system) if not (root and b.stationarity)]
    columns = [v.name for v in system.variables] + ([] if root else [r.multiplier for r in system.rows])
    rows = [r.multiplier for r in system.rows] if root else columns
    entries = {(b.row, b.column): _entry(b.entry) for b in found}
    widths = [max((visible(entries.get((row, c), "0")) for row in rows), default=0) for c in columns]
    if len(columns) <= MATRIX and sum(widths) <= WIDTH:
        lines = [" & ".join(entries.get((row, c), "0") for c in columns) for row in rows]
        matrix = "\\begin{bmatrix}\n" + " \\\\[2pt]\n".join(lines) + "\n\\end{bmatrix}"
        return "\\[\n\\frac{\\partial F}{\\partial w} = " + matrix + "\n\\]"
    return "The blocks that are not zero:\n" + _display(
        ((f"{_row(b)} &= {entries[b.row, b.column]}{_for_all(b.entry.ranges)}",) for b in found), gap="[4pt]"
    )


def _row(block: Block) -> str:
    below = rf"\partial {name(block.column)}"
    above = rf"\nabla_{{{name(block.row)}}} L" if block.stationarity else rf"F_{{{name(block.row)}}}"
    return rf"\frac{{\partial {above}}}{{{below}}}"


def _entry(entry: Entry) -> str:
    e, weight = entry.expression, entry.weight
    top = r"^\top" if entry.transposed else ""
    text = ""
    match entry.kind:
        case "known" if e is not None:
            text = f"{within(e, ATOM)}{top}" if top else latex(e)
        case "hessian":
            a, b = map(name, entry.of)
            text = rf"\nabla^2_{{{a}\,{b}}} L"
        case "derivative":
            assert e is not None
            text = rf"D_{{{name(entry.of[0])}}}\left[{latex(e)}\right]{top}"
        case "cone" if e is not None:
            if weight is None:
                return rf"dZ \mapsto {within(e, PRODUCT)} \, dZ"
            x = name(entry.of[0])
            plain = isinstance(e, Symbol)
            moved = f"d{x}" if plain else rf"D_{{{x}}}\left[{latex(e)}\right](d{x})"
            return rf"d{x} \mapsto {moved} \, {latex(weight)}"
    if weight is None:
        return text
    diagonal = latex(weight) if not weight.rank else rf"\operatorname{{Diag}}({latex(weight)})"
    return beside(diagonal, text) if text else diagonal


# Lines


def _labelled(label: str, pieces: Sequence[str], gap: str = "\\quad ") -> Iterator[Line]:
    """A sum behind its label, broken before a sign where it is long."""
    for position, line in enumerate(_broken(pieces)):
        yield (f"{label} {gap}" if not position else ""), line if not position else f"\\qquad {{}}{line}"


def _broken(pieces: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for piece in pieces or ["0"]:
        signed = f" - {piece[1:]}" if piece.startswith("-") else f" + {piece}"
        if not lines:
            lines.append(piece)
        elif visible(lines[-1] + signed) > WIDTH:
            lines.append(signed.strip())
        else:
            lines[-1] += signed
    return lines


def visible(text: str) -> int:
    """About how many characters wide the text will be."""
    text = re.sub(
        r"\\(left|right|mathrm|mathbf|mathtt|operatorname|text|tfrac|frac|,|;|!)", "", text.replace("quad ", "xxx")
    )
    return len(re.sub(r"[{}_^ \n]", "", re.sub(r"\\[A-Za-z]+", "x", text)))
