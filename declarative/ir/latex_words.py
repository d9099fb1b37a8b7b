r"""Names, sizes, numbers and running text in LaTeX: ``sigma_max`` is ``\sigma_{\max}``, ``x0`` is ``\mathrm{x}_{0}``.

A name is a letter, a Greek letter or a word, with what follows its first underscore (or its trailing digits) below it;
``_hat``, ``_bar`` and ``_tilde`` stand above. A name that ends in digits is upright (a Greek one has them in typewriter
type), so that ``x0`` and ``x[0]`` look different.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from declarative.ir.shape import Size

GREEK = frozenset(
    (
        *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu"),
        *("xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
        *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"),
    )
)
ACCENTS = ("hat", "bar", "tilde")
OPERATORS = ("max", "min")
MARKS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "×": r"$\times$",
    "∈": r"$\in$",
    "∞": r"$\infty$",
    "–": "--",
    "—": "---",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
} | {character: f"\\{character}" for character in "{}#$%&_"}


def name(text: str) -> str:
    """A name of the program in math mode."""
    base, below = _parts(text)
    return f"{base}_{{{','.join(below)}}}" if below else base


def subscripted(text: str, marks: str) -> str:
    r"""A name with indices below it, behind what stands there already: ``\nu_{\mathrm{eq},t}``; ``(x_{0})_{t}``."""
    base, below = _parts(text)
    if any(part[-1].isdigit() or "mathtt" in part for part in below):
        return f"({name(text)})_{{{marks}}}"
    return f"{base}_{{{','.join([*below, marks])}}}"


def _parts(text: str) -> tuple[str, list[str]]:
    """What stands on the line, and what below it."""
    first, *rest = [part for part in text.split("_") if part] or [""]
    below: list[str] = []
    digits = re.fullmatch(r"([A-Za-z]+)(\d+)", first)
    if digits and (len(digits[1]) == 1 or digits[1] in GREEK):
        first, below = digits[1], [digits[2] if len(digits[1]) == 1 else rf"\mathtt{{{digits[2]}}}"]
    base = rf"\mathrm{{{first}}}" if below and len(first) == 1 else _word(first)
    for accent in ACCENTS:
        if accent in rest:
            rest.remove(accent)
            base = rf"\{accent}{{{base}}}"
    if text.startswith("_") or text.endswith("_"):  # names that differ in such an underscore alone stay apart
        escaped = text.replace("_", r"\_")
        return rf"\mathrm{{{escaped}}}", []
    return base, below + [_below(part) for part in rest]


def _below(part: str) -> str:
    if part.isdigit():
        return rf"\mathtt{{{part}}}"
    return rf"\{part}" if part in OPERATORS else _word(part)


def _word(part: str) -> str:
    if part in GREEK:
        return rf"\{part}"
    return part if len(part) <= 1 or part.isdigit() else rf"\mathrm{{{part}}}"


def dimension(text: str) -> str:
    """The name of a dimension or an index: a count, so never a Greek letter."""
    return rf"\mathrm{{{text}}}" if text in GREEK else name(text)


def size(value: Size) -> str:
    """An affine expression of dimensions and indices."""
    text = ""
    for symbol, coefficient in sorted(value.terms, key=lambda term: term[1] < 0):
        factor = dimension(symbol) if abs(coefficient) == 1 else f"{abs(coefficient)}{dimension(symbol)}"
        text += ("-" if coefficient < 0 else "+" if text else "") + factor
    if value.constant or not text:
        text += f"{value.constant:+d}" if text else str(value.constant)
    return text


def number(value: float) -> str:
    """A number: whole, a fraction of a small denominator, a decimal, or with a power of ten."""
    sign, value = ("-" if value < 0 else ""), abs(float(value))
    if value == float("inf"):
        return rf"{sign}\infty"
    if value.is_integer() and value < 1e6:
        return f"{sign}{int(value)}"
    fraction = Fraction(value).limit_denominator(16)
    if fraction.denominator > 1 and fraction.numerator < 100 and float(fraction) == value and value * 10 % 1:
        return rf"{sign}\tfrac{{{fraction.numerator}}}{{{fraction.denominator}}}"
    if value == 0.5:
        return rf"{sign}\tfrac{{1}}{{2}}"
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent and value.is_integer():
        mantissa, _, exponent = f"{value:.15e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
    if not exponent:
        return f"{sign}{mantissa}"
    power = f"10^{{{int(exponent)}}}"
    return f"{sign}{power}" if mantissa in ("1", "1.0") else rf"{sign}{mantissa} \cdot {power}"


def prose(text: str) -> str:
    """Running text with nothing in it that LaTeX would take for a command."""
    return "".join(map(_character, text))


def _character(character: str) -> str:
    if character in MARKS:
        return MARKS[character]
    if character.isascii():
        return character if character.isprintable() else " "
    named = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(character, ""))
    if named:
        word = named[2].lower().replace("lamda", "lambda")
        word = word if named[1] == "SMALL" else word.capitalize()
        return f"$\\{word}$" if word in GREEK else _code_point(character)
    decomposed = unicodedata.normalize("NFD", character)
    return character if decomposed[0].isascii() and ord(character) < 0x180 else _code_point(character)


def _code_point(character: str) -> str:
    """A character that the fonts of LaTeX lack, by its number."""
    return f"[U+{ord(character):04X}]"
