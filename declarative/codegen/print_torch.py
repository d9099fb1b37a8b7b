"""Expressions as torch source that works for any batch: every tensor is (*batch, *shape) and nothing else is assumed.

Operators keep their precedence, a scalar that meets a tensor gets trailing dimensions, and products with diagonal
matrices become elementwise. The functions of `declarative.runtime.assemble` cover what torch has no short name for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from declarative.ir.atom import Operand
from declarative.ir.expression import (
    At,
    Call,
    Constant,
    Expression,
    ExternCall,
    Index,
    IndexRange,
    Let,
    Nested,
    SizeValue,
    Sum,
    Symbol,
)
from declarative.ir.matrices import Full, Identity
from declarative.ir.shape import Shape, Size

SUM, PRODUCT, ATOM = 1, 2, 3
"""How tightly a printed text binds."""


@dataclass(frozen=True)
class Text:
    """Printed source with its binding strength; evaluates to (*batch, *shape), or a Python number."""

    source: str
    shape: Shape
    strength: int = ATOM
    is_number: bool = False

    @property
    def atomic(self) -> str:
        return self.source if self.strength == ATOM else f"({self.source})"

    def at_least(self, strength: int) -> str:
        return self.source if self.strength >= strength else f"({self.source})"

    def lifted(self, rank: int, strength: int) -> str:
        """With trailing dimensions of size one added to a scalar that meets a tensor of this rank."""
        if self.is_number or self.shape or not rank:
            return self.at_least(strength)
        return f"{self.atomic}[..., {', '.join(['None'] * rank)}]"

    @property
    def operand(self) -> Operand:
        return Operand(self.source, self.shape, self.strength == ATOM, self.is_number)


@dataclass
class TorchPrinter:
    """Prints expressions. ``names`` maps the program's names to Python's; ``lets`` are those bound to a local already.

    ``like`` is the text of a tensor whose dtype and device new tensors take. ``used`` collects the runtime functions
    that the printed text needs, ``symbols`` and ``sizes`` the parameters, variables, dimensions and indices in it.
    """

    names: Mapping[str, str]
    like: str
    lets: frozenset[str] = frozenset()
    used: set[str] = field(default_factory=set)
    symbols: set[str] = field(default_factory=set)
    sizes: set[str] = field(default_factory=set)
    at_edge: bool = False
    """Whether functions of variables are printed for a point where a solver ended; see `Atom.torch_at_edge`."""

    def __call__(self, expression: Expression) -> str:
        return self.text(expression).source

    def with_lets(self, lets: frozenset[str]) -> TorchPrinter:
        return replace(self, lets=lets)

    def text(self, e: Expression) -> Text:
        match e:
            case Constant(value=value):
                return self._constant(e, value)
            case SizeValue(size=size):
                return self._size_text(size)
            case Symbol(name=name):
                self.symbols.add(name)
                return Text(self.names.get(name, name), e.shape)
            case Let(name=name, body=body):
                return Text(self.names.get(name, name), e.shape) if name in self.lets else self.text(body)
            case Identity(size=size):
                self.used.add("eye")
                return Text(f"eye({self.size(size)}, like={self.like})", e.shape)
            case Full(number=number, filled=filled):
                return self._full(number, filled)
            case Index():
                return self._index(e)
            case Sum():
                return self._sum(e)
            case ExternCall(extern=extern, args=args):
                inside = ", ".join(self(a) for a in args)
                return Text(f'self.extern("{extern.name}", {inside}, returns={self.shape(e.shape)})', e.shape)
            case Call():
                rule = _OPERATORS.get(e.atom.name)
                return rule(self, e) if rule and not self._on_edge(e) else self._atom(e)
        raise TypeError(f"no torch form for {type(e).__name__}")

    def size(self, size: Size) -> str:
        """A size as Python source: ``T + 1``."""
        if size.is_number:
            return str(size.constant)
        self.sizes |= size.names
        parts = []
        for name, c in size.terms:
            python = self.names.get(name, name)
            parts.append(("- " if c < 0 else "+ ") + (python if abs(c) == 1 else f"{abs(c)} * {python}"))
        if size.constant:
            parts.append(f"{'-' if size.constant < 0 else '+'} {abs(size.constant)}")
        text = " ".join(parts)
        return text[2:] if text.startswith("+ ") else "-" + text[2:]

    def shape(self, shape: Shape) -> str:
        """A shape as a Python tuple."""
        return f"({', '.join(self.size(s) for s in shape)}{',' if len(shape) == 1 else ''})"

    def count(self, shape: Shape) -> str:
        """Number of entries of a shape, as Python source."""
        numbers = [s.constant for s in shape if s.is_number]
        symbolic = [s for s in shape if not s.is_number]
        product = 1
        for n in numbers:
            product *= n
        texts = [self.size(s) if len(s.terms) == 1 and not s.constant else f"({self.size(s)})" for s in symbolic]
        if product != 1 or not texts:
            texts.insert(0, str(product))
        return self.size(symbolic[0]) if len(texts) == 1 and symbolic else " * ".join(texts)

    def _constant(self, e: Constant, value: Nested) -> Text:
        if isinstance(value, tuple):
            self.used.add("tensor")
            return Text(f"tensor({_nested(value)}, like={self.like})", e.shape)
        return Text(_number(value), (), ATOM if value >= 0 else SUM, is_number=True)

    def _size_text(self, size: Size) -> Text:
        strength = ATOM if size.is_number or (len(size.terms) == 1 and not size.constant) else SUM
        return Text(self.size(size), (), strength, is_number=True)

    def _full(self, number: float, filled: Shape) -> Text:
        if not filled:
            return Text(_number(number), (), ATOM if number >= 0 else SUM, is_number=True)
        self.used.add("full")
        return Text(f"full({self.shape(filled)}, {_number(number)}, like={self.like})", filled)

    def _index(self, e: Index) -> Text:
        inside = []
        for subscript in e.subscripts:
            if isinstance(subscript, At):
                inside.append(self.size(subscript.index))
            else:
                inside.append(f"{self.size(subscript.first)} : {self.size(subscript.last + 1)}")
        rest = [":"] * (e.base.rank - len(inside))
        return Text(f"{self.text(e.base).atomic}[..., {', '.join(inside + rest)}]", e.shape)

    def _sum(self, e: Sum) -> Text:
        return Text(f"sum({self(e.body)} {self.loops(e.ranges)})", e.shape)

    def loops(self, ranges: tuple[IndexRange, ...]) -> str:
        """``for t in range(T) for ...``."""
        texts = []
        for r in ranges:
            first = "" if r.first == Size(0) else f"{self.size(r.first)}, "
            texts.append(f"for {r.name} in range({first}{self.size(r.last + 1)})")
        return " ".join(texts)

    def _on_edge(self, e: Call) -> bool:
        return self.at_edge and not e.is_constant and e.atom.has_edge(*e.args)

    def _atom(self, e: Call) -> Text:
        operands = []
        for argument in e.args:
            text = self.text(argument)
            if text.is_number and not isinstance(argument, Constant | SizeValue | Full):
                text = replace(text, strength=ATOM, source=text.atomic)
            operands.append(text.operand)
        if operands and all(o.is_number for o in operands):
            self.used.add("tensor")
            first = operands[0]
            operands[0] = Operand(f"tensor({first.text}, like={self.like})", first.shape)
        source = e.atom.torch_at_edge(*operands) if self._on_edge(e) else e.atom.torch(*operands)
        if "functions." in source:
            self.used.add("functions")
        return Text(source, e.shape)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def _nested(value: Nested) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_nested(v) for v in value)}]"
    return repr(float(value))


def _add(printer: TorchPrinter, e: Call) -> Text:
    left, right = e.args
    rank = e.rank
    sign = "+"
    if isinstance(right, Call) and right.atom.name == "neg":
        sign, right = "-", right.args[0]
    elif isinstance(right, Constant) and isinstance(right.value, float | int) and right.value < 0:
        sign, right = "-", Constant(-right.value)
    a, b = printer.text(left), printer.text(right)
    source = f"{a.lifted(rank, SUM)} {sign} {b.lifted(rank, PRODUCT if sign == '-' else SUM)}"
    return Text(source, e.shape, SUM, a.is_number and b.is_number)


def _neg(printer: TorchPrinter, e: Call) -> Text:
    inner = printer.text(e.args[0])
    return Text(f"-{inner.atomic}", e.shape, SUM, inner.is_number)


def _mul(printer: TorchPrinter, e: Call) -> Text:
    left, right = e.args
    if isinstance(right, Full) and right.number == 1.0 and left.rank == 0:
        inner = printer.text(left)
        if not inner.is_number:
            printer.used.add("fill")
            return Text(f"fill({inner.source}, {', '.join(printer.size(s) for s in right.shape)})", e.shape)
    a, b = printer.text(left), printer.text(right)
    if b.source.startswith("-") or a.source.startswith("-"):
        a, b = replace(a, strength=min(a.strength, SUM)), replace(b, strength=min(b.strength, b.strength))
    tight = ATOM if _is_matmul(right) else PRODUCT
    source = f"{a.lifted(e.rank, PRODUCT)} * {b.lifted(e.rank, tight)}"
    return Text(source, e.shape, PRODUCT, a.is_number and b.is_number)


def _is_matmul(e: Expression) -> bool:
    while isinstance(e, Call) and e.atom.name == "mul":
        e = e.args[0]
    return isinstance(e, Call) and e.atom.name in ("matmul", "div")


def _div(printer: TorchPrinter, e: Call) -> Text:
    a, b = (printer.text(x) for x in e.args)
    return Text(
        f"{a.lifted(e.rank, PRODUCT)} / {b.lifted(e.rank, ATOM)}", e.shape, PRODUCT, a.is_number and b.is_number
    )


def _matmul(printer: TorchPrinter, e: Call) -> Text:
    left, right = e.args
    diagonal = _diagonal(left)
    if diagonal is not None and right.rank == 2:
        d = printer.text(diagonal)
        return Text(f"{d.atomic}[..., :, None] * {printer.text(right).at_least(ATOM)}", e.shape, PRODUCT)
    diagonal = _diagonal(right)
    if diagonal is not None and left.rank == 2:
        d = printer.text(diagonal)
        return Text(f"{printer.text(left).at_least(PRODUCT)} * {d.atomic}[..., None, :]", e.shape, PRODUCT)
    a, b = printer.text(left), printer.text(right)
    match left.rank, right.rank:
        case 2, 2:
            return Text(f"{a.at_least(PRODUCT)} @ {b.at_least(ATOM)}", e.shape, PRODUCT)
        case 2, 1:
            printer.used.add("matvec")
            return Text(f"matvec({a.source}, {b.source})", e.shape)
        case 1, 2:
            printer.used.add("matvec")
            return Text(f"matvec({b.atomic}.mT, {a.source})", e.shape)
    printer.used.add("dot")
    return Text(f"dot({a.source}, {b.source})", e.shape)


def _diagonal(e: Expression) -> Expression | None:
    """d of ``diag(d)``."""
    return e.args[0] if isinstance(e, Call) and e.atom.name == "diag" and e.args[0].rank == 1 else None


def _transpose(printer: TorchPrinter, e: Call) -> Text:
    inner = printer.text(e.args[0])
    return Text(f"{inner.atomic}.mT", e.shape) if e.rank == 2 else inner


def _power(printer: TorchPrinter, e: Call) -> Text:
    base, exponent = (printer.text(a) for a in e.args)
    if base.is_number:
        return Text(f"{base.atomic} ** {exponent.atomic}", e.shape, PRODUCT, is_number=exponent.is_number)
    if exponent.source == "2":
        return Text(f"{base.atomic}.square()", e.shape)
    return Text(f"({base.atomic} ** {exponent.atomic})", e.shape)


_OPERATORS: Mapping[str, Callable[[TorchPrinter, Call], Text]] = {
    "add": _add,
    "neg": _neg,
    "mul": _mul,
    "div": _div,
    "matmul": _matmul,
    "transpose": _transpose,
    "power": _power,
}
