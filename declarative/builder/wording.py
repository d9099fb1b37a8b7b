"""Help texts of the language in the words of Python: functions of ``dl``, ``.T`` and ``**``, declarations as calls.

What checks programs speaks of them as text; a builder's user is to type Python.
"""

from __future__ import annotations

import re
from dataclasses import replace

from declarative.atoms import ATOMS
from declarative.diagnostics.diagnostic import Diagnostic
from declarative.ir.expression import ATTRIBUTES

_FUNCTION = re.compile(rf"(?<![\w.])({'|'.join(sorted(ATOMS, key=len, reverse=True))})(?=\()")
_DECLARATION = re.compile(
    r"\b(?P<kind>param|var) (?P<name>\w+)(?:\[(?P<sizes>[^\]]*)\])?"
    rf"(?P<words>(?: (?:{'|'.join(ATTRIBUTES)}|learned)\b)*)(?: from (?P<start>[\w.]+))?"
)
_DIMENSION = re.compile(r"\bdim (\w+) = (\d+), or fix it with --dim \w+=\d+")
_PHRASES = (
    (re.compile(r"`(minimize|maximize) locally`"), r"`.\1_locally(...)`"),
    (re.compile(r"\b(\w[\w\[\].]*|\([^()]*\)) in psd\b"), r"dl.in_psd(\1)"),
    (re.compile(r"(?<=[\w)\]])'"), ".T"),
    (re.compile(r"\^"), "**"),
    (re.compile(r"remove `from`"), "remove `start=`"),
    (re.compile(r"add `smooth` to its declaration"), "add `smooth=True` to its declaration"),
    (re.compile(r"rename one with `as NAME`"), "name one by a keyword, .output(NAME=...)"),
    (
        re.compile(r"declare the constant `nonneg` and the matrix `psd`"),
        "declare the constant `nonneg=True` and the matrix `psd=True`",
    ),
    (re.compile(r"for instance `nonneg`"), "for instance `nonneg=True`"),
)


def in_python(diagnostic: Diagnostic) -> Diagnostic:
    """The same finding with a help that is Python."""
    return replace(diagnostic, help=help_in_python(diagnostic.help))


def help_in_python(help: str | None) -> str | None:
    """A help text as a builder's user would type it."""
    if help is None:
        return None
    text = _DIMENSION.sub(r'dl.dim("\1", \2), or fix it: dl.compile(..., \1=\2)', help)
    text = _DECLARATION.sub(_declaration, text)
    for pattern, instead in _PHRASES:
        text = pattern.sub(instead, text)
    return _FUNCTION.sub(r"dl.\1", text)


def _declaration(match: re.Match[str]) -> str:
    """``param w[n] nonneg`` as ``dl.param("w", "n", nonneg=True)``."""
    arguments = [f'"{match["name"]}"']
    arguments += [size if size.isdigit() else f'"{size}"' for size in re.findall(r"[^, ]+", match["sizes"] or "")]
    arguments += [f"{word}=True" for word in match["words"].split()]
    arguments += [f"start={match['start']}"] if match["start"] else []
    return f"dl.{match['kind']}({', '.join(arguments)})"
