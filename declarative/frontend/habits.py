"""Statements as other languages and hasty hands write them: each is answered with the statement rewritten.

A rule looks at the place where the parser stopped and says nothing where it does not recognise what stands there.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from declarative.diagnostics.diagnostic import Diagnostic, Label
from declarative.diagnostics.span import Span
from declarative.frontend.foreign import STATEMENTS
from declarative.frontend.lines import open_brackets
from declarative.frontend.stop import Stop

_LEADING_FOR = re.compile(r"\s*for\s+(\w+\s+in\s+[^:\n]+?)\s*:\s*([^#\n]+)")
_CONSTRAINT_NAME = re.compile(r"\s*[A-Za-z_]\w*\s*:\s*")
_BOUND = re.compile(r"\s*([^<>=]+?)\s*(<=|>=)\s*([^<>=]+?)\s*")


def _leading_for(stop: Stop) -> Diagnostic | None:
    """``for i in 0..n-1: x[i] >= 0``."""
    if stop.before.strip() != "for":
        return None
    start = stop.block[0] + stop.before.index("for")
    block = stop.text[start : stop.block[1]]
    written = _LEADING_FOR.match(block)
    help = f"{written[2].strip()} for {written[1]}" if written else "x[i] >= 0 for i in 0..n-1"
    at = Label(Span(stop.source, start, start + 3), "not at the start")
    return Diagnostic("E109", "the `for` of a constraint stands at its end", at, help=help)


def _header_on_the_line(stop: Stop) -> Diagnostic | None:
    """``minimize f subject to``."""
    if str(stop.token) != "subject" or not stop.before.strip() or not re.match(r"to\b", stop.after):
        return None
    at = Span(stop.source, stop.start, stop.source.text.index("to", stop.start + len("subject")) + 2)
    return Diagnostic(
        "E110", "`subject to` stands on a line of its own", Label(at, "a new line before this"),
        help="end the line before `subject to`, and give each constraint a line below it",
    )  # fmt: skip


def _missing_comma(stop: Stop) -> Diagnostic | None:
    """``output x dual(h)`` and ``param W[n n]``."""
    if "COMMA" not in stop.expected or stop.token.type not in ("NAME", "NUMBER", "LPAR"):
        return None
    words = stop.before.split()
    keyword = words[0] if words else ""
    opened = open_brackets(stop.before, len(stop.before))
    if keyword == "output" and not opened:
        what = "outputs"
    elif keyword in ("param", "var", "extern") and opened and opened[-1].text == "[":
        what = "sizes"
    else:
        return None
    end = stop.start - len(stop.before) + len(stop.before.rstrip())
    name = re.search(r"\w*\s*$", stop.before[: opened[-1].position]) if opened else None
    first = stop.before[name.start() if name else 0 :].strip()
    rest = re.match(r"[^\]]*\]", f"{stop.token}{stop.after}") if opened else None
    second = rest[0] if rest else f"{stop.token}{stop.after}"
    at = Span(stop.source, end, end + 1)
    return Diagnostic(
        "E110", f"a comma is missing between two {what}", Label(at, "a comma here"), help=f"{first}, {second}"
    )


def _named_output(stop: Stop) -> Diagnostic | None:
    """``output residual = A @ x - b``."""
    if stop.token.type != "ASSIGN" or not re.match(r"\s*output\b", stop.before):
        return None
    name = re.search(r"(\w+)\s*$", stop.before)
    value = _up_to_comma(stop.after)
    if name is None or not value:
        return None
    return Diagnostic(
        "E110", "the name of an output stands behind it, after `as`", Label(stop.span, "no equals sign here"),
        help=f"{value} as {name[1]}",
    )  # fmt: skip


def _up_to_comma(text: str) -> str:
    """The text before its first comma outside of brackets."""
    for match in re.finditer(",", text):
        if not open_brackets(text, match.start()):
            return text[: match.start()].strip()
    return text.strip()


def _two_constraints(stop: Stop) -> Diagnostic | None:
    """``x >= 0, x <= 1``."""
    constraint = stop.token.type == "COMMA" and "_FOR" in stop.expected
    if not constraint or not re.search(r"[<>=]=", stop.after) or re.match(r"for\b|\w+\s+in\b", stop.after):
        return None
    first = _BOUND.fullmatch(_CONSTRAINT_NAME.sub("", stop.before, count=1))
    second = _BOUND.fullmatch(stop.after)
    help = "write each on a line of its own"
    if first and second and first[1] == second[1] and first[2] != second[2]:
        low, high = (first[3], second[3]) if first[2] == ">=" else (second[3], first[3])
        help += f", or both bounds in one: {low} <= {first[1]} <= {high}"
    return Diagnostic("E110", "a line holds one constraint", Label(stop.span, "a second one follows"), help=help)


def _objective_with_colon(stop: Stop) -> Diagnostic | None:
    """``minimise: f``, which reads like a named constraint without a relation."""
    if stop.token.type != "_NL" or "LE" not in stop.expected:
        return None
    written = re.match(r"\s*(\w+)\s*:\s*(.+)", stop.before, re.DOTALL)
    sense = STATEMENTS.get(written[1].lower()) if written else None
    if written is None or sense not in ("minimize", "maximize"):
        return None
    start = stop.block[0] + written.start(1)
    at = Span(stop.source, start, start + len(written[1]))
    return Diagnostic(
        "E109", f"no statement begins with `{written[1]}:`", Label(at), help=f"{sense} {written[2].strip()}"
    )


def _cone_order(stop: Stop) -> Diagnostic | None:
    """``X >> 0``: the order of semidefinite matrices."""
    pair = stop.text[max(stop.start - 1, 0) : stop.start + 1]
    if pair not in (">>", "<<"):
        return None
    left, right = _CONSTRAINT_NAME.sub("", stop.before[:-1], count=1).strip(), _up_to_comma(stop.after)
    upper, lower = (left, right) if pair == ">>" else (right, left)
    if lower == "0":
        help = f"{upper} in psd"
    else:
        lower = lower if lower.isidentifier() else f"({lower})"
        help = f"-{lower} in psd" if upper == "0" else f"{upper} - {lower} in psd"
    at = Span(stop.source, stop.start - 1, stop.start + 1)
    return Diagnostic("E105", f"`{pair}` is not a relation of the language", Label(at), help=help)


HABITS: tuple[Callable[[Stop], Diagnostic | None], ...] = (
    _leading_for,
    _header_on_the_line,
    _missing_comma,
    _named_output,
    _two_constraints,
    _objective_with_colon,
    _cone_order,
)
"""The rules, none of which recognises what another does."""
