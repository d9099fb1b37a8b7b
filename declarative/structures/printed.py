"""How the statements of closed forms are put: expressions that fit a tensor's entries, and entries between bounds."""

from __future__ import annotations

from declarative.canonical.algebra import ONE, strip, terms
from declarative.canonical.mismatch import Mismatch
from declarative.canonical.quadratic import QuadraticForm
from declarative.canonical.separable import Coupling, SeparableForm
from declarative.ir.expression import Call, Expression
from declarative.ir.matrices import Full
from declarative.ir.shape import Shape
from declarative.ir.traverse import symbols
from declarative.structures.structure import Show


def one_number(e: Expression) -> float | None:
    """The number that every entry is, if the expression is such a tensor or a scalar."""
    collected = terms(e)
    if len(collected) > 1:
        return None
    for term, factor in collected.items():
        return factor if term == ONE or isinstance(term, Full) else None
    return 0.0


def fitted(show: Show, e: Expression, shape: Shape) -> str:
    """The expression as torch source that broadcasts against (*batch, *shape); a number as a number."""
    value = one_number(e)
    if value is not None:
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    e = _without_copies(e)
    text = show(e)
    if e.rank or not shape:
        return text
    if not symbols(e):  # made of sizes: a number of Python
        return f"({text})"
    atomic = text if text.isidentifier() else f"({text})"
    return f"{atomic}[..., {', '.join(['None'] * len(shape))}]"


def _without_copies(e: Expression) -> Expression:
    """The scalar of a tensor that holds nothing but copies of it; any other expression as it is."""
    e = strip(e)
    if isinstance(e, Call) and e.atom.name == "mul" and isinstance(e.args[1], Full) and e.args[1].number == 1.0:
        return e.args[0] if not e.args[0].rank else e
    return e


def factor(show: Show, e: Expression, shape: Shape) -> str:
    """The expression in front of a product, with its ``*``; nothing for one."""
    text = fitted(show, e, shape)
    if text == "1":
        return ""
    return f"({text}) * " if _is_sum(text) else f"{text} * "


def less(text: str) -> str:
    """What takes ``text``, a product or a number, away from what stands before it."""
    return f"+ {text[1:]}" if text.startswith("-") and not _is_sum(text[1:]) else f"- {text}"


def _is_sum(text: str) -> bool:
    """Whether a sum or a sign stands outside of all brackets."""
    depth, outside = 0, ""
    for character in text:
        depth += (character in "([") - (character in ")]")
        outside += character if depth == 0 else ""
    return outside.startswith("-") or " + " in outside or " - " in outside


def clamped(text: str, lower: str | None, upper: str | None) -> str:
    """``text`` between two bounds, numbers or names of tensors."""
    if lower is None and upper is None:
        return text
    if upper is None:
        return f"{text}.clamp_min({lower})"
    if lower is None:
        return f"{text}.clamp_max({upper})"
    if _is_number(lower) == _is_number(upper):
        return f"{text}.clamp({lower}, {upper})"
    return f"{text}.clamp_min({lower}).clamp_max({upper})"


def named_bounds(form: SeparableForm, show: Show) -> tuple[list[str], str | None, str | None]:
    """Statements that name the bounds which are no numbers, and the bounds; see `clamped`."""
    lines: list[str] = []
    texts: list[str | None] = []
    for name, bound in (("lower", form.lower), ("upper", form.upper)):
        text = None if bound is None else fitted(show, bound, form.variable.shape)
        if text is not None and not _is_number(text) and not text.isidentifier():
            lines.append(f"{name} = {text}")
            text = name
        texts.append(text)
    return lines, texts[0], texts[1]


def _is_number(text: str) -> bool:
    return text.replace(".", "").replace("e", "").replace("-", "").replace("+", "").isdigit()


def is_numeric(text: str | None) -> bool:
    """Whether a bound is a number, or absent."""
    return text is None or _is_number(text)


def stated(form: QuadraticForm | Mismatch, *, added: int = 0) -> QuadraticForm | Mismatch:
    """The quadratic form if it has the given number of variables besides the program's own."""
    if isinstance(form, Mismatch):
        return form
    if len(form.variables) != len(form.normal.variables) + added:
        return Mismatch("a term or a constraint takes more variables than a closed form has")
    return form


def row_duals(coupling: Coupling, t: str) -> dict[str, str]:
    """Per constraint of a coupling the source of its dual, ``t`` being that of the multiplier of the whole."""
    origins = [row.constraint.origin for row in coupling.rows]
    if len(set(origins)) == 1 and len(origins) == 2:
        return {str(origins[0]): t}
    return {
        origin: text for origin, text in zip(origins, row_multipliers(coupling, t), strict=True) if origin is not None
    }


def row_multipliers(coupling: Coupling, t: str) -> list[str]:
    """The source of the multiplier of each row."""
    if len(coupling.rows) == 1:
        return [t]
    texts = []
    for ratio in coupling.ratios:
        part = f"{t}.clamp_min(0)" if ratio > 0 else f"(-{t}).clamp_min(0)"
        texts.append(part if abs(ratio) == 1.0 else f"{part} / {abs(ratio)!r}")
    return texts


def bound_duals(form: SeparableForm, source: str | None) -> dict[str, str]:
    """Per constraint that is a bound the source of its dual; ``source`` is the bounds' multiplier, None where zero."""
    parts: dict[str, list[str]] = {}
    for bound in form.bounds:
        if bound.origin is None:
            continue
        if source is None:
            text = "torch.zeros_like(point.x)"
        else:
            text = f"{source}.clamp_min(0)" if bound.factor > 0 else f"(-{source}).clamp_min(0)"
        if bound.summed:
            text += ".sum(-1)"
        if abs(bound.factor) != 1.0 and source is not None:
            text += f" / {abs(bound.factor)!r}"
        parts.setdefault(bound.origin, []).append(f"-{text}" if bound.side == "lower" else text)
    # The upper part of a two-sided constraint first, so that the text begins without a sign where there are both.
    return {origin: " ".join(_signed(sorted(texts, key=_is_negated))) for origin, texts in parts.items()}


def _is_negated(text: str) -> bool:
    return text.startswith("-")


def _signed(texts: list[str]) -> list[str]:
    first, *others = texts
    return [first, *(f"- {t[1:]}" if _is_negated(t) else f"+ {t}" for t in others)]
