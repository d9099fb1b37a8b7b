"""What users of Python and CVXPY write out of habit: each idiom is answered with this language's words for it.

As in `declarative.frontend.habits`, a rule looks at the place where the parser stopped and says nothing where it does
not recognise what stands there.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from declarative.diagnostics.diagnostic import Diagnostic, Label
from declarative.diagnostics.span import Span
from declarative.frontend.foreign import STATEMENTS
from declarative.frontend.lines import open_brackets
from declarative.frontend.stop import Stop

MODULES = ("cp", "cvxpy", "np", "numpy", "torch", "math", "dl", "F")
"""What functions of other libraries have before their names."""

_FUNCTION_OF_MODULE = re.compile(r"\b(\w+)$")
_CALL = re.compile(r"(\w+)\s*\(")
_OBJECTIVE = re.compile(r"\s*([A-Za-z]\w*)\s*\((.*)\)\s*", re.DOTALL)
_RANGE = re.compile(r"\bfor\s+(\w+)\s*(=|in)\s*(?:range\s*\(\s*(?P<count>[\w+*-]+)\s*\)|(?P<range>[^,#\n]+))")
_INDEXED_NAME = re.compile(r"\s*(\w+)\s*\[\s*(\w+\s+in\s+[^\]]+?)\s*\]\s*:\s*([^#\n]+)")


def _objective_as_call(stop: Stop) -> Diagnostic | None:
    """``Minimize(sum_squares(x))``."""
    written = _OBJECTIVE.fullmatch(stop.before) if stop.token.type == "_NL" else None
    sense = written[1].lower() if written else ""
    if written is None or STATEMENTS.get(sense, sense) not in ("minimize", "maximize"):
        return None
    at = _word(stop, written.start(1), written[1])
    help = f"{STATEMENTS.get(sense, sense)} {written[2].strip()}"
    return Diagnostic("E109", f"no statement begins with `{written[1]}`", Label(at), help=help)


def _header_alone(stop: Stop) -> Diagnostic | None:
    """``st`` on a line of its own."""
    word = stop.before.strip()
    if stop.token.type != "_NL" or STATEMENTS.get(word.lower()) != "subject to":
        return None
    at = _word(stop, stop.before.index(word), word)
    return Diagnostic("E109", f"no statement begins with `{word}`", Label(at), help="did you mean `subject to`?")


def function_of_module(stop: Stop) -> Diagnostic | None:
    """``cp.sum(x)`` and ``x.sum()``."""
    if str(stop.token) != "." or stop.before[-1:].isdigit():
        return None
    owner, call = _FUNCTION_OF_MODULE.search(stop.before), _CALL.match(stop.after)
    if owner is None or call is None:
        return None
    if owner[1] in MODULES:
        at = Span(stop.source, stop.start - len(owner[1]), stop.start + 1)
        return Diagnostic(
            "E104", f"functions have no `{owner[1]}.` before their names", Label(at, "no prefix here"), help="remove it"
        )
    if not re.match(r"\w+\s*\(\s*\)", stop.after):
        return None
    return Diagnostic(
        "E104", "there are no attributes or methods", Label(stop.span, "no dot here"),
        help=f"functions are called with their argument: {call[1]}({owner[1]})",
    )  # fmt: skip


def _conditional(stop: Stop) -> Diagnostic | None:
    """``a if p > 0 else b``."""
    if str(stop.token) != "if":
        return None
    return Diagnostic(
        "E110", "there are no conditionals", Label(stop.span, "no `if` here"),
        notes=("what depends on data alone is decided in torch, and given as a param",),
    )  # fmt: skip


def _outputs_in_parentheses(stop: Stop) -> Diagnostic | None:
    """``output (x, y)``."""
    inside = re.fullmatch(r"\s*output\s*\((.*)", stop.before, re.DOTALL)
    if stop.token.type != "COMMA" or inside is None or len(open_brackets(stop.before, len(stop.before))) != 1:
        return None
    rest = stop.after.rstrip()
    help = f"output {inside[1].strip()}, {rest.removesuffix(')').strip()}"
    start = stop.block[0] + stop.before.index("(")
    at = Label(Span(stop.source, start, start + 1), "no parentheses here")
    return Diagnostic("E110", "outputs are a list without parentheses", at, help=help)


def _range_of_index(stop: Stop) -> Diagnostic | None:
    """``for t = 0..n-1``, ``for t in n`` and ``for t in range(n)``."""
    line = stop.text[: stop.text.find("\n", stop.start) % (len(stop.text) + 1)]
    near = [m for m in _RANGE.finditer(line, stop.block[0]) if m.start() < stop.start <= m.end() + 1]
    if not near:
        return None
    written = near[-1]
    index, sign, count, range_ = written[1], written[2], written["count"], _balanced(written["range"] or "")
    if sign == "=" and stop.token.type == "ASSIGN" and ".." in range_:
        return Diagnostic(
            "E110", "an index runs over a range after `in`", Label(stop.span, "no equals sign here"),
            help=f"for {index} in {range_}",
        )  # fmt: skip
    last = count or (range_ if re.fullmatch(r"\w+", range_) else None)
    if sign != "in" or last is None:
        return None
    end = f"{int(last) - 1}" if last.isdigit() else f"{last}-1"
    return Diagnostic(
        "E110", "an index runs over a range with both ends", Label(stop.span, "a range a..b is missing"),
        help=f"for {index} in 0..{end}",
    )  # fmt: skip


def _indexed_name(stop: Stop) -> Diagnostic | None:
    """``order[t in 0..n-2]: y[t] <= y[t+1]``."""
    written = _INDEXED_NAME.match(stop.text, stop.block[0])
    if written is None or str(stop.token) != "in":
        return None
    return Diagnostic(
        "E110", "the index of a constraint stands at its end", Label(stop.span, "not behind the name"),
        help=f"{written[1]}: {written[3].strip()} for {written[2]}",
    )  # fmt: skip


def _balanced(text: str) -> str:
    """The text before a bracket that it does not open."""
    for match in re.finditer(r"[)\]]", text):
        if not open_brackets(text, match.start()):
            return text[: match.start()].strip()
    return text.strip()


def _word(stop: Stop, offset: int, word: str) -> Span:
    start = stop.block[0] + offset
    return Span(stop.source, start, start + len(word))


IDIOMS: tuple[Callable[[Stop], Diagnostic | None], ...] = (
    _objective_as_call,
    _header_alone,
    _conditional,
    _outputs_in_parentheses,
    _range_of_index,
    _indexed_name,
)
"""The rules, none of which recognises what another does; `function_of_module` is asked where a dot stands."""
