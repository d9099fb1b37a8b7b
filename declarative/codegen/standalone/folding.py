"""Branches that a module cannot take, left out of its text: tests whose answer is known are replaced by the answer.

Known are the kind of problem that a layer poses (``isinstance(problem, ConeProgram)`` is false where no cone program is
ever made) and that the compiled kernels are absent. Everything else, with its comments and its layout, stays as it is
written, letter by letter.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable

from declarative.codegen.standalone.sources import is_internal
from declarative.codegen.standalone.text import Text, parsed

Absent = Callable[[ast.expr], bool]
"""Whether an expression names a class of which there is no instance."""


def fold(source: str, absent: Absent, never: Absent) -> str:
    """The text of a definition without the branches that are never taken, and without its imports of the runtime.

    ``absent``: the classes without an instance; ``never``: the calls that are known to answer no.
    """
    while True:
        text = parsed(source)
        edit = next((e for node in ast.walk(text.tree) if (e := _edit(text, node, absent, never)) is not None), None)
        if edit is None:
            return source
        source = text.replaced([edit])


def _edit(text: Text, node: ast.AST, absent: Absent, never: Absent) -> tuple[int, int, str] | None:
    """The change that one node asks for, None where it stays."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
            edit = _edit_of_block(text, node, block, absent, never)
            if edit is not None:
                return edit
    match node:
        case ast.IfExp():
            answer = truth(node.test, absent, never)
            return None if answer is None else (*text.span(node), text.of(node.body if answer else node.orelse))
        case ast.BoolOp():
            return _edit_of_operands(text, node, absent, never)
        case ast.Call(func=ast.Name(id="isinstance"), args=[tested, kinds]):
            kept = [k for k in _alternatives(kinds) if not absent(k)]
            if not kept:
                return (*text.span(node), "False")
            if len(kept) == len(_alternatives(kinds)):
                return None
            return (*text.span(node), f"isinstance({text.of(tested)}, {' | '.join(map(text.of, kept))})")
        case ast.Dict(keys=keys, values=values):
            # A registry by class: the entries of the classes that are there.
            if keys and all(key is not None and absent(key) for key in keys):
                return (*text.span(node), "{}")
            for key, value in zip(keys, values, strict=True):
                if key is not None and absent(key):
                    return text.starts[key.lineno - 1], text.starts[value.end_lineno or 0], ""
    return None


def _edit_of_operands(text: Text, node: ast.BoolOp, absent: Absent, never: Absent) -> tuple[int, int, str] | None:
    neutral = isinstance(node.op, ast.And)
    kept = [v for v in node.values if truth(v, absent, never) is not neutral]
    answer = truth(node, absent, never)
    if answer is not None:
        return (*text.span(node), str(answer))
    if len(kept) == len(node.values):
        return None
    return (*text.span(node), (" and " if neutral else " or ").join(map(text.of, kept)))


def _edit_of_block(
    text: Text, parent: ast.AST, block: list[ast.stmt], absent: Absent, never: Absent
) -> tuple[int, int, str] | None:
    for statement in block:
        alone = "" if len(block) > 1 or isinstance(parent, ast.Module) else " " * statement.col_offset + "pass\n"
        if isinstance(statement, ast.ImportFrom) and is_internal(statement):
            return (*_with_blank_line(text, text.lines(statement, statement)), alone)
        if isinstance(statement, ast.If) and (answer := truth(statement.test, absent, never)) is not None:
            chosen = statement.body if answer else statement.orelse
            start, end = text.lines(statement, statement)
            if not chosen:
                return start, end, "" if _is_elif(text, statement) else alone
            if _is_elif(text, statement):
                return None if answer else (start, end, _as_branch(text, chosen, statement.col_offset))
            if answer and isinstance(chosen[-1], ast.Return | ast.Raise):
                end = text.lines(block[-1], block[-1])[1]  # nothing after it is reached
            return start, end, _moved(text, chosen, statement.col_offset)
    return None


def _with_blank_line(text: Text, lines: tuple[int, int]) -> tuple[int, int]:
    """The lines with a blank one after them."""
    start, end = lines
    return start, end + (text.data[end : end + 1] == b"\n")


def _is_elif(text: Text, statement: ast.If) -> bool:
    return text.of(statement).startswith("elif")


def _moved(text: Text, block: list[ast.stmt], indent: int) -> str:
    """Statements at another indentation."""
    start, end = text.lines(block[0], block[-1])
    moved = textwrap.indent(textwrap.dedent(text.data[start:end].decode()), " " * indent)
    first = block[0]
    return moved.replace("elif", "if", 1) if isinstance(first, ast.If) and _is_elif(text, first) else moved


def _as_branch(text: Text, block: list[ast.stmt], indent: int) -> str:
    """What follows an ``elif`` that is never taken: another one, or an ``else``."""
    start, end = text.lines(block[0], block[-1])
    kept = text.data[start:end].decode()
    return kept if isinstance(block[0], ast.If) and _is_elif(text, block[0]) else f"{' ' * indent}else:\n{kept}"


def truth(test: ast.expr, absent: Absent, never: Absent) -> bool | None:
    """The answer of a test where it is known."""
    match test:
        case ast.Constant(value=bool() as value):
            return value
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            answer = truth(operand, absent, never)
            return None if answer is None else not answer
        case ast.BoolOp(op=op, values=values):
            answers = [truth(v, absent, never) for v in values]
            decisive = isinstance(op, ast.Or)
            if decisive in answers:
                return decisive
            return None if None in answers else not decisive
        case ast.Call(func=ast.Name(id="isinstance"), args=[_, kinds]):
            return False if all(map(absent, _alternatives(kinds))) else None
        case ast.Call(func=called):
            return False if never(called) else None
    return None


def _alternatives(kinds: ast.expr) -> list[ast.expr]:
    """The classes of ``A | B`` or ``(A, B)``."""
    if isinstance(kinds, ast.BinOp) and isinstance(kinds.op, ast.BitOr):
        return [*_alternatives(kinds.left), *_alternatives(kinds.right)]
    return list(kinds.elts) if isinstance(kinds, ast.Tuple) else [kinds]
