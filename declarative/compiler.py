"""The compiler, one line per stage: text or builder -> program -> canonical form -> structure -> torch module."""

from __future__ import annotations

import builtins
import hashlib
import linecache
import operator
import sys
import types
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from typing import Any, Protocol
from weakref import WeakValueDictionary

from declarative.canonical.mismatch import Mismatch
from declarative.codegen.names import class_name
from declarative.codegen.torch_module import emit, shell
from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError
from declarative.frontend import parse_program
from declarative.frontend.read import read_text
from declarative.ir.program import Program
from declarative.runtime.layer import Layer
from declarative.structures import Canonical, Match, Recognition, canonicalise, recognise
from declarative.structures.cone_program import ConeProgramMatch


@dataclass(frozen=True)
class Compilation:
    """What each stage made of a program. ``source`` is the emitted module, None where sizes are still open."""

    program: Program
    canonical: Canonical
    recognition: Recognition
    source: str | None

    @property
    def match(self) -> Match:
        """The structure that was chosen."""
        return next(m for _, m in self.recognition if isinstance(m, Match))

    @property
    def class_name(self) -> str:
        return class_name(self.program.name)


def compile(source: str | PathLike[str] | Program | SupportsBuild, **sizes: int) -> type[Layer]:
    """A layer class from a ``.opt`` file, a program's text of several lines, a program, or a layer built in Python.

    ``sizes`` fixes dimensions by name. A class whose structure needs sizes that are still open takes them from the
    arguments of each call, specialises itself to them and keeps what it made. The emitted source of a class is its
    ``source()``. Raises `DiagnosticError` with every error of the program and for a size that is no size, `TypeError`
    for anything but a program.
    """
    _refuse_misfits(source, sizes)
    if isinstance(source, str | PathLike):
        program = read(source, sizes)
    else:
        program = source if isinstance(source, Program) else source.build(sizes)
    compilation = stages(program, sizes)
    if compilation.source is not None:
        return load(compilation.source, compilation.class_name)
    return specialising(compilation, sizes)


def _refuse_misfits(source: object, sizes: Mapping[str, object]) -> None:
    if not isinstance(source, str | PathLike | Program) and not hasattr(source, "build"):
        raise TypeError(f"expected a path of an .opt file, a program or a layer, found {type(source).__name__}")
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral) or size < 0:
            expected = "the size of a dimension is a whole number, at least 0"
            raise DiagnosticError([Diagnostic("E602", f"`{name}` is {size!r}", notes=(expected,))])


class SupportsBuild(Protocol):
    """What the builder's layer is to the compiler."""

    def build(self, sizes: Mapping[str, int] | None = None) -> Program: ...


def read(path: str | PathLike[str], sizes: Mapping[str, int] | None = None) -> Program:
    """A program from a ``.opt`` file, or from its text, which has several lines and so is no path; raises
    `DiagnosticError` with everything that is wrong with it."""
    if isinstance(path, str) and "\n" in path:
        return parse_program(path, sizes=sizes)
    return parse_program(read_text(path), str(path), sizes)


def stages(program: Program, sizes: Mapping[str, int] | None = None) -> Compilation:
    """Run the compiler. ``sizes`` fixes dimensions; a cone program is emitted only when all are known."""
    canonical = canonicalise(program)
    recognition = recognise(canonical)
    match = next((m for _, m in recognition if isinstance(m, Match)), None)
    if match is None:
        reasons = tuple(f"{s.name}: {m.reason}" for s, m in recognition if isinstance(m, Mismatch))
        raise DiagnosticError([Diagnostic("E605", "no structure solves this program", notes=reasons)])
    known = complete(program, match, sizes or {})
    source = None if known is None else emit(program, match, known)
    return Compilation(program, canonical, recognition, source)


def complete(program: Program, match: Match, sizes: Mapping[str, int]) -> Mapping[str, int] | None:
    """The sizes to emit at: those given, and for a cone program the defaults too; None where one is still open."""
    _refuse_unknown(program, sizes)
    if not isinstance(match, ConeProgramMatch):
        return sizes
    known = {d.name: sizes.get(d.name, d.default) for d in program.dimensions}
    return None if any(v is None for v in known.values()) else {k: v for k, v in known.items() if v is not None}


def _refuse_unknown(program: Program, sizes: Mapping[str, int]) -> None:
    names = [d.name for d in program.dimensions]
    unknown = [name for name in sizes if name not in names]
    if unknown:
        raise DiagnosticError(
            [
                Diagnostic(
                    "E602",
                    f"no dimension `{unknown[0]}`",
                    notes=(f"the program's dimensions are {', '.join(names) or 'none'}",),
                )
            ]
        )


def load(source: str, name: str) -> type[Layer]:
    """The class of an emitted module's source, as though it had been imported: the same class for the same source."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    known = f"declarative.compiled.{name}_{digest}"
    if known not in sys.modules:
        module = types.ModuleType(known)
        filename = f"<declarative {name} {digest}>"
        # Tracebacks and debuggers show the emitted lines.
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        exec(builtins.compile(source, filename, "exec"), module.__dict__)
        made = module.__dict__[name]
        made.source = classmethod(lambda cls: source)
        made._recipe = load, (source, name)
        output = module.__dict__.get(f"{name}Output")
        if output is not None:
            output.__reduce__ = lambda self: (_returned, (source, name, tuple(self)))
        sys.modules[known] = module
    loaded: type[Layer] = sys.modules[known].__dict__[name]
    return loaded


def _returned(source: str, name: str, values: tuple[Any, ...]) -> Any:
    """What a layer returned, a named tuple of its module, out of a pickle."""
    return sys.modules[load(source, name).__module__].__dict__[f"{name}Output"](*values)


def specialising(compilation: Compilation, sizes: Mapping[str, int], key: str | None = None) -> type[Layer]:
    """A class that emits, for the sizes of each call, the class that serves them, once; pickles know it by ``key``."""
    program, match = compilation.program, compilation.match
    made: dict[tuple[int, ...], type[Layer]] = {}
    names = [d.name for d in program.dimensions]

    def make(key: tuple[int, ...]) -> None:
        made[key] = load(emit(program, match, dict(zip(names, key, strict=True))), compilation.class_name)

    def provide(*key: int) -> None:
        """Make the class where it is not there: while torch traces the call, too, out of the trace's reach."""
        if key not in made:
            with ThreadPoolExecutor(1) as apart:
                apart.submit(make, key).result()

    # A tracer runs it at once and does not look into it, as with torch.compiler.assume_constant_result, whose import of
    # that tracer takes longer than torch's own.
    provide._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def specialised(self: Layer, found: Mapping[str, int]) -> type[Layer]:
        key = tuple(operator.index(found[name]) for name in names)  # sizes that are symbols become these numbers
        provide(*key)
        return made[key]

    def source(cls: type[Layer]) -> str:
        raise LookupError(f"{cls.__name__} is emitted per sizes; name them in dl.compile(..., {_open(program, sizes)})")

    body = {**shell(program, sizes), "specialised": specialised, "source": classmethod(source), "__doc__": program.doc}
    key, body["__module__"] = key or uuid.uuid4().hex, __name__
    body["_recipe"] = _specialising_again, (key, program, dict(sizes))
    kind: type[Layer] = types.new_class(compilation.class_name, (Layer,), exec_body=lambda space: space.update(body))
    _SPECIALISING[key] = kind
    return kind


_SPECIALISING: WeakValueDictionary[str, type[Layer]] = WeakValueDictionary()


def _specialising_again(key: str, program: Program, sizes: Mapping[str, int]) -> type[Layer]:
    """A specialising class out of a pickle: the one that was stored where it lives here, else made from its program."""
    return _SPECIALISING.get(key) or specialising(stages(program, sizes), sizes, key)


def _open(program: Program, sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{d.name}=..." for d in program.dimensions if d.name not in sizes)


__all__ = ["Compilation", "compile", "complete", "load", "parse_program", "read", "specialising", "stages"]
