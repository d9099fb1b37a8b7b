"""The canonical layout of a program: the same program, the same comments, one way of writing them.

Declarations line up (`var` under `param`, the ``=`` of lets, descriptions), constraints are indented by two and line up
behind their names, a blank line stands before the objective; elsewhere blank lines are the author's, one at a time.
Inside a statement see `declarative.frontend.spacing`, for long ones `declarative.frontend.line_breaks`, for what stands
behind them `declarative.frontend.columns`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from declarative.diagnostics.diagnostic import DiagnosticError
from declarative.diagnostics.span import Source
from declarative.frontend import syntax
from declarative.frontend.columns import Rule, Tail, Written, columns
from declarative.frontend.lexemes import Lexeme, scan
from declarative.frontend.line_breaks import WIDTH, lines_of
from declarative.frontend.parser import parse
from declarative.frontend.spacing import without_spare_parentheses

INDENT = "  "
NO_TAIL = Tail("")


def format_text(text: str, name: str = "<text>") -> str:
    """The program in its canonical layout; formatting that again changes nothing, and it declares the same program.

    ``name`` is what diagnostics call the text. Names and shapes may be wrong, and are left alone.
    Raises `DiagnosticError` with every syntax error of a text that cannot be read.
    """
    source = Source(name, text)
    file, found = parse(source)
    if file is None or found:
        raise DiagnosticError(found)
    blocks = _with_blank_lines(_blocks(text, file))
    rows = [row for run in _runs(blocks) for row in _aligned(run)]
    return "".join(f"{line}\n" for row in rows for line in row)


@dataclass(frozen=True)
class Block:
    """A statement with its lexemes, or (``node`` None) a comment on a line of its own.

    ``blank``: whether an empty line comes before it. ``remark``: the comment behind it, on its last line.
    """

    node: syntax.Statement | None
    lexemes: tuple[Lexeme, ...]
    blank: bool
    remark: str = ""
    indented: bool = False


def _blocks(text: str, file: syntax.File) -> list[Block]:
    """The text's statements and the comments between them."""
    lexemes = list(scan(text))
    blocks: list[Block] = []
    end = position = 0
    for statement in (*file.statements, None):
        start, stop = (len(text), len(text)) if statement is None else (statement.span.start, statement.span.end)
        while position < len(lexemes) and lexemes[position].start < start:
            comment = lexemes[position]
            if blocks and not comment.breaks:
                blocks[-1] = replace(blocks[-1], remark=comment.text)
            else:
                line = text[text.rfind("\n", 0, comment.start) + 1 : comment.start]
                blank = text.count("\n", end, comment.start) > 1
                blocks.append(Block(None, (comment,), blank, indented=line != ""))
            end = comment.end
            position += 1
        if statement is not None:
            first = position
            while position < len(lexemes) and lexemes[position].start < stop:
                position += 1
            own = tuple(lexemes[first:position])
            blocks.append(Block(statement, own, text.count("\n", end, start) > 1))
            end = stop
    return _with_indented_comments(blocks)


def _with_indented_comments(blocks: Sequence[Block]) -> list[Block]:
    """Comments indented as the statement that they stand above; those at the end as their author has them."""
    placed: list[Block] = []
    statements = [block.node for block in blocks if block.node is not None]
    below: syntax.Statement | None = None
    for block in reversed(blocks):
        below = block.node or below
        neighbour = below or (statements[-1] if statements and block.indented else None)
        placed.append(replace(block, indented=isinstance(neighbour, syntax.ConstraintStatement)))
    return placed[::-1]


def _with_blank_lines(blocks: Sequence[Block]) -> list[Block]:
    """An empty line before the objective with its comments, none around ``subject to`` and at the top."""
    spaced = list(blocks)
    for position, block in enumerate(blocks):
        above = blocks[position - 1].node if position else None
        opens = isinstance(above, syntax.SubjectTo) or (
            isinstance(above, syntax.ObjectiveStatement) and above.sense == "solve"
        )
        follows = isinstance(block.node, syntax.SubjectTo) and isinstance(above, syntax.ObjectiveStatement)
        if position == 0 or opens or follows:
            spaced[position] = replace(block, blank=False)
        elif isinstance(block.node, syntax.ObjectiveStatement):
            first = position
            while first > 0 and blocks[first - 1].node is None and not blocks[first].blank:
                first -= 1
            spaced[first] = replace(spaced[first], blank=first > 0)
    return spaced


@dataclass(frozen=True)
class Row:
    """A statement in columns: ``head`` (a keyword or a name), its body, and ``tail`` (a description or a ``for``)."""

    block: Block
    head: str = ""
    body: tuple[Lexeme, ...] = ()
    tail: Tail = NO_TAIL

    @property
    def family(self) -> object:
        """What it lines up with."""
        match self.block.node:
            case syntax.SymbolDeclaration():
                return "symbol"
            case syntax.LetDeclaration() | syntax.OptionStatement() | syntax.ConstraintStatement() as node:
                return type(node)
            case None:
                return None
        return id(self.block)


def _row(block: Block) -> Row:
    """A statement taken apart."""
    if block.node is None:
        return Row(block, body=block.lexemes)
    lexemes = tuple(without_spare_parentheses(block.lexemes))
    words = [lexeme.text for lexeme in lexemes]
    match block.node:
        case syntax.SymbolDeclaration():
            docs = [lexeme for lexeme in lexemes if lexeme.kind == "string"]
            body = tuple(lexeme for lexeme in lexemes[1:] if lexeme.kind != "string")
            return Row(block, words[0], body, _tail(block, " ".join(doc.text for doc in docs), docs))
        case syntax.LetDeclaration() | syntax.OptionStatement():
            return Row(block, " ".join(words[:2]), lexemes[3:])
        case syntax.ConstraintStatement():
            first = 2 if block.node.name is not None else 0
            last = _clause(block.node, lexemes)
            tail = " ".join(line.text for line in lines_of(lexemes[last:], 0)) if last < len(lexemes) else ""
            return Row(block, f"{words[0]}:" if first else "", lexemes[first:last], _tail(block, tail, lexemes[last:]))
        case syntax.SubjectTo():
            return Row(block, "subject to")
        case syntax.ObjectiveStatement(local=local):
            first = 2 if local else 1
            return Row(block, " ".join(words[:first]), lexemes[first:])
    return Row(block, words[0], lexemes[1:])


def _tail(block: Block, text: str, lexemes: Sequence[Lexeme]) -> Tail:
    """A tail with the place that its author has it in, if that is behind the statement's other words, on their line."""
    if not lexemes or lexemes[0].breaks or lexemes[-1] is not block.lexemes[-1]:
        return Tail(text)
    before = block.lexemes[block.lexemes.index(lexemes[0]) - 1]
    return Tail(text, written=Written(lexemes[0].column, lexemes[0].column - before.end_column))


def _clause(node: syntax.ConstraintStatement, lexemes: Sequence[Lexeme]) -> int:
    """Where the ``for`` of a constraint stands, unless a comment in it fixes its lines."""
    if not node.bindings:
        return len(lexemes)
    start = node.bindings[0].span.start
    last = max(i for i, lexeme in enumerate(lexemes) if lexeme.text == "for" and lexeme.end <= start)
    return len(lexemes) if any(lexeme.kind == "comment" for lexeme in lexemes[last:]) else last


def _runs(blocks: Iterable[Block]) -> Iterator[list[Row]]:
    """Stretches of rows that line up: one kind of statement without empty lines; comments between them belong to it."""
    run: list[Row] = []
    family: object = None
    for row in map(_row, blocks):
        if row.block.blank or (row.family is not None and family is not None and row.family != family):
            yield run
            run, family = [], None
        run.append(row)
        family = family if row.family is None else row.family
    yield run


def _aligned(run: Sequence[Row]) -> Iterator[list[str]]:
    """The lines of every row of a run."""
    laid = [_laid(row, _head_width(run)) for row in run]
    _append(laid, [item.row.tail for item in laid], Rule(2 if _are_constraints(run) else 1, WIDTH))
    _append(laid, [Tail(item.row.block.remark) for item in laid], Rule(2))
    for item in laid:
        yield ([""] if item.row.block.blank else []) + item.lines


def _are_constraints(run: Sequence[Row]) -> bool:
    return any(isinstance(row.block.node, syntax.ConstraintStatement) for row in run)


def _head_width(run: Sequence[Row]) -> int:
    """The width of the first column: the longest keyword of symbols, the longest name of constraints, lets, options.

    Several variables that all have a single blank behind their `var` stay so.
    """
    variables = [row for row in run if row.head == "var" and row.body]
    if len(variables) > 1 and all(row.body[0].column - row.block.lexemes[0].end_column == 1 for row in variables):
        return 0
    return max((len(row.head) for row in run), default=0)


@dataclass
class Laid:
    """A row with its lines as they grow."""

    row: Row
    lines: list[str]


def _laid(row: Row, head_width: int) -> Laid:
    """The first columns of a row."""
    margin = INDENT if isinstance(row.block.node, syntax.ConstraintStatement) or row.block.indented else ""
    if row.block.node is None:
        return Laid(row, [margin + row.body[0].text])
    named = isinstance(row.block.node, syntax.LetDeclaration | syntax.OptionStatement)
    head = row.head.ljust(head_width) + " = " if named else f"{row.head.ljust(head_width)} " if row.head else ""
    if not row.body:
        return Laid(row, [(margin + head).rstrip()])
    first, *rest = lines_of(row.body, len(margin + head))
    return Laid(row, [margin + head + first.text, *(" " * line.column + line.text for line in rest)])


def _append(laid: Sequence[Laid], tails: Sequence[Tail], rule: Rule) -> None:
    """Write the tails that there are behind the last lines of their rows."""
    longest = max((len(item.lines[0]) for item in laid if item.row.block.node and len(item.lines) == 1), default=0)
    behind = [(item, tail) for item, tail in zip(laid, tails, strict=True) if tail.text]
    sized = [replace(tail, width=len(item.lines[-1]), fixed=len(item.lines) > 1) for item, tail in behind]
    for (item, tail), column in zip(behind, columns(sized, rule, longest), strict=True):
        item.lines[-1] = item.lines[-1].ljust(column) + tail.text
