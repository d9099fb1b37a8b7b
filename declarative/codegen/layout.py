"""Line breaking for emitted Python: a long line opens its last bracket, whose items then stand one a line.

Long rows of numbers are filled instead, many a line. Text inside string literals is never touched.
"""

from __future__ import annotations

import re

WIDTH = 110
_NUMBERS = re.compile(r"[-+.\deE]+(: [-+.\deE]+)?")
OPEN, CLOSE = "([{", ")]}"


def layout(text: str) -> str:
    """The text with every over-long code line broken; docstrings are left as they are."""
    lines: list[str] = []
    inside = False
    for line in text.split("\n"):
        quotes = line.count('"""') - line.count('\\"\\"\\"')
        if inside or quotes or len(line) <= WIDTH or line.lstrip().startswith("#"):
            lines.append(line)
        else:
            lines += _broken(line)
        inside ^= quotes % 2 == 1
    return "\n".join(lines).rstrip() + "\n"


def _broken(line: str) -> list[str]:
    """One logical line as several."""
    indent = line[: len(line) - len(line.lstrip())]
    if line.startswith("from ") and "(" not in line and len(line) > WIDTH:
        head, names = line.split(" import ")
        return [f"{head} import (", *(f"    {name}," for name in names.split(", ")), ")"]
    found = last_bracket(line)
    if len(line) <= WIDTH or found is None:
        return [line]
    start, end = found
    head, items, tail = line[: start + 1], _items(line[start + 1 : end]), line[end:]
    inner = indent + "    "
    if not items or items == [""]:
        return [line]
    if len(items) > 8 and all(_NUMBERS.fullmatch(i) for i in items):
        return [head, *(inner + row for row in _filled(items, WIDTH - len(inner))), indent + tail]
    if len(items) == 1 and not line[start + 1 : end].rstrip().endswith(","):
        return [head, *_broken(inner + items[0]), indent + tail]
    rows: list[str] = []
    for item in items:
        rows += _broken(f"{inner}{item},")
    return [head, *rows, indent + tail]


def _filled(items: list[str], width: int) -> list[str]:
    """Items as rows of at most ``width`` characters, each with its comma."""
    rows = [""]
    for item in items:
        if rows[-1] and len(rows[-1]) + len(item) + 2 > width:
            rows.append("")
        rows[-1] += f"{' ' if rows[-1] else ''}{item},"
    return rows


def last_bracket(line: str) -> tuple[int, int] | None:
    """The outermost bracket pair that closes last; a longer one before it if that one holds little."""
    pairs: list[tuple[int, int]] = []
    stack: list[int] = []
    for position, character in _code(line):
        if character in OPEN:
            stack.append(position)
        elif character in CLOSE and stack:
            start = stack.pop()
            if not stack:
                pairs.append((start, position))
    if not pairs:
        return None
    longest = max(pairs, key=lambda p: p[1] - p[0])
    last = pairs[-1]
    return last if last[1] - last[0] >= (longest[1] - longest[0]) / 2 else longest


def _items(inside: str) -> list[str]:
    """The text between brackets split at its own commas; a comprehension counts as one item."""
    items, depth, begin = [], 0, 0
    for position, character in _code(inside):
        if character in OPEN:
            depth += 1
        elif character in CLOSE:
            depth -= 1
        elif character == "," and depth == 0:
            items.append(inside[begin:position].strip())
            begin = position + 1
    rest = inside[begin:].strip()
    return [*items, rest] if rest else items


def _code(line: str) -> list[tuple[int, str]]:
    """Positions and characters outside string literals and before a comment."""
    found: list[tuple[int, str]] = []
    quote = ""
    skip = False
    for position, character in enumerate(line):
        if skip:
            skip = False
        elif quote:
            if character == "\\":
                skip = True
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character == "#":
            break
        else:
            found.append((position, character))
    return found
