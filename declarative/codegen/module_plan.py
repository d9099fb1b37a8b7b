"""Every decision about an emitted module, as data; printing it is the template's business alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from declarative.codegen.names import python_names
from declarative.codegen.print_torch import TorchPrinter
from declarative.ir.expression import Expression, Let
from declarative.ir.program import Program
from declarative.ir.shape import Shape, Size
from declarative.ir.traverse import walk


@dataclass(frozen=True)
class Method:
    """A method of the emitted class: its name, arguments after ``self``, return annotation, docstring and body."""

    name: str
    arguments: tuple[str, ...]
    returns: str
    doc: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Field:
    """A field of the output tuple, with the shape that its comment shows."""

    name: str
    comment: str


@dataclass(frozen=True)
class Assignment:
    """A class attribute or module constant: name, source, and an optional comment above it."""

    name: str
    source: str
    comment: str = ""


@dataclass(frozen=True)
class ModulePlan:
    """The emitted module, decided."""

    class_name: str
    header: tuple[str, ...]
    doc: tuple[str, ...]
    runtime: tuple[str, ...]
    needs_torch: bool
    constants: tuple[Assignment, ...]
    output: tuple[Field, ...]
    attributes: tuple[Assignment, ...]
    methods: tuple[Method, ...]


@dataclass(frozen=True)
class Reading:
    """A statement that reads names off a point; emitted where one of them is used, with ``_`` for the others."""

    names: tuple[str, ...]
    source: Callable[[TorchPrinter], str]

    def statement(self, printer: TorchPrinter, text: str) -> str | None:
        """The statement if ``text`` uses any of the names, else None."""
        used = [name if re.search(rf"\b{name}\b", text) else "_" for name in self.names]
        if all(name == "_" for name in used):
            return None
        return f"{', '.join(used)} = {self.source(printer)}"


@dataclass(frozen=True)
class Solver:
    """What a problem class adds to a module: how its data come about and where its variables and duals are read off.

    ``point_type`` is the runtime class that names the parts of a point. ``variables`` maps each variable to the source
    that reads it, ``duals`` each constraint; ``readings`` are the statements that define the names in these sources.
    ``blocks`` names the rows of the problem: (constraint, part of the point, sizes).
    """

    methods: tuple[Method, ...]
    point_type: str
    variables: dict[str, str]
    duals: dict[str, str]
    readings: tuple[Reading, ...] = ()
    blocks: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    constants: tuple[Assignment, ...] = ()
    attributes: tuple[Assignment, ...] = ()


def stack(part: str, pieces: Sequence[tuple[str, Shape]], writer: Writer) -> tuple[dict[str, str], tuple[Reading, ...]]:
    """How named pieces are read off a stacked part of a point: a source for each, and the statement it needs."""
    if len(pieces) == 1 and len(pieces[0][1]) == 1:
        return {pieces[0][0]: f"point.{part}"}, ()
    if len(pieces) == 1 and not pieces[0][1]:
        return {pieces[0][0]: f"point.{part}[..., 0]"}, ()
    if not pieces:
        return {}, ()

    def source(printer: TorchPrinter) -> str:
        writer.used.add("split")
        text = f"split(point.{part}, {', '.join(printer.shape(shape) for _, shape in pieces)})"
        return f"{text}[0]" if len(pieces) == 1 else text

    names = tuple(name for name, _ in pieces)
    return {name: name for name in names}, (Reading(names, source),)


class Writer:
    """What the emission of one module shares: the program, the Python names, and which runtime functions it used."""

    def __init__(self, program: Program, kept: Iterable[str] = ()) -> None:
        self.program = program
        self.names = dict(python_names(program, kept))
        self.used: set[str] = set()
        self.call = tuple(p for p in program.parameters if p.binding == "call")
        self.owned = tuple(p for p in program.parameters if p.binding != "call")
        like = next((p for p in (*self.call, *self.owned)), None)
        self.like = "self._like" if like is None else self.names[like.name]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The parameters of the call, as Python names."""
        return tuple(self.names[p.name] for p in self.call)

    def printer(self) -> TorchPrinter:
        """A fresh printer, to be handed to `body` when the method's text is complete."""
        return TorchPrinter(self.names, self.like, used=self.used)

    def body(self, printer: TorchPrinter, lines: Sequence[str], *, bound: Sequence[str] = ()) -> tuple[str, ...]:
        """The lines of a method, after statements for the sizes and the layer's own parameters that they use.

        ``bound`` are names that the method has already, besides the parameters of the call.
        """
        text = "\n".join(lines)
        start: list[str] = []
        likes = f"like={self.like}" in text
        for name in sorted(printer.sizes & {d.name for d in self.program.dimensions}, key=self._dimension_order):
            if not re.search(rf"\b{self.names[name]}\b", text):
                continue
            source = self._read_off(name) or f'self.sizes["{name}"]'
            start.append(f"{self.names[name]} = {source}")
        owned = []
        for parameter in self.owned:
            python = self.names[parameter.name]
            if python in bound:
                continue
            if parameter.name in printer.symbols or (likes and python == self.like):
                owned.append(f"{python} = self.{parameter.name}")
        return (*owned, *start, *lines)

    def _dimension_order(self, name: str) -> int:
        return [d.name for d in self.program.dimensions].index(name)

    def _read_off(self, name: str, asked: frozenset[str] = frozenset()) -> str | None:
        """A dimension from the simplest size of a parameter of the call that has it; None where none determines it.

        ``x.shape[-1]`` of x[n], ``y.shape[-1] // 3`` of y[3*n]; ``asked`` are the dimensions that are being read off.
        """
        found = [
            (size, f"{self.names[parameter.name]}.shape[{axis - parameter.rank}]")
            for parameter in self.call
            for axis, size in enumerate(parameter.shape)
            if name in size.names
        ]
        found.sort(key=lambda entry: (len(entry[0].terms), abs(dict(entry[0].terms)[name]), abs(entry[0].constant)))
        for size, extent in found:
            text = self._solved_for(name, size, extent, asked | {name})
            if text is not None:
                return text
        return None

    def _solved_for(self, name: str, size: Size, extent: str, asked: frozenset[str]) -> str | None:
        """The dimension that makes a size equal to an extent, the others in it being read off elsewhere."""
        text = extent
        for other, coefficient in size.terms:
            if other == name:
                continue
            known = None if other in asked else self._read_off(other, asked)
            if known is None:
                return None
            factor = f"({known})" if abs(coefficient) == 1 else f"{abs(coefficient)} * ({known})"
            text += f" {'-' if coefficient > 0 else '+'} {factor}"
        if size.constant:
            text += f" {'-' if size.constant > 0 else '+'} {abs(size.constant)}"
        divisor = dict(size.terms)[name]
        if divisor == 1:
            return text
        return f"{text} // {divisor}" if text == extent else f"({text}) // {divisor}"

    def lets(self, printer: TorchPrinter, expressions: Sequence[Expression]) -> tuple[TorchPrinter, list[str]]:
        """Statements for the lets that the expressions use, in order of declaration, and a printer that knows them."""
        needed = {node.name for e in expressions for node in walk(e) if isinstance(node, Let)}
        lines: list[str] = []
        known: frozenset[str] = frozenset()
        for let in self.program.lets:
            if let.name in needed:
                lines.append(f"{self.names[let.name]} = {replace(printer, lets=known)(let.body)}")
                known |= {let.name}
        return replace(printer, lets=known), lines


def tuple_text(items: Sequence[str]) -> str:
    """Source of a tuple."""
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def quoted(text: str) -> str:
    """A string literal in double quotes that holds any text."""
    literal = repr(text)
    if literal.startswith('"'):
        return literal
    return '"' + literal[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'


def size_text(size: Size) -> str:
    """A size as the string that a `Spec` takes: ``2*n + 1``."""
    return re.sub(r"(?<=\w)([+-])", r" \1 ", str(size))
