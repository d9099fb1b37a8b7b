"""``declarative compile``: programs to torch modules, a line for each stage."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from declarative.canonical.normalise import Affine, NormalForm, Squares
from declarative.cli.arguments import UsageError, named
from declarative.cli.atomic import replace_file, unwritable
from declarative.cli.programs import load, require_sizes
from declarative.cli.terminal import Terminal
from declarative.codegen.standalone import packages, standalone
from declarative.compiler import Compilation, stages
from declarative.diagnostics.diagnostic import DiagnosticError
from declarative.ir.program import Program
from declarative.ir.show import show

SHADOWED = frozenset({"torch", "numpy", "scipy", "declarative", "clarabel", "cvxpy"})
"""Packages that emitted modules and their users import."""

SIGNATURE = "Written by declarative"
"""What every emitted module says of itself."""


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Compile every file; one that fails does not keep the others from being written."""
    sizes = named(arguments.dim, "--dim")
    targets = _targets(arguments.files, arguments.output)
    if arguments.output == "-":
        terminal = Terminal(terminal.err, terminal.err)
    failures = 0
    for file, target in targets.items():
        try:
            _compile(file, target, sizes, terminal, arguments)
        except DiagnosticError as error:
            terminal.report(error.diagnostics)
            failures += 1
    if failures and len(targets) > 1:
        terminal.err.print(f"{failures} of {len(targets)} files not compiled")
    return int(failures > 0)


def _targets(files: list[str], output: str | None) -> dict[str, str]:
    """Where each file's module goes."""
    if output is not None and len(files) > 1:
        raise UsageError(
            "`-o` names one file, but there are several to compile", "leave it out: each goes beside its source"
        )
    targets = {file: output or str(Path(file).with_suffix(".py")) if Path(file).name else file for file in files}
    taken: dict[Path, str] = {}
    for file, target in targets.items():
        place = Path(os.path.realpath(target))
        if target != "-" and place == Path(os.path.realpath(file)) and place.is_file():
            raise UsageError(f"the module would overwrite its source `{file}`", "name another file with `-o OUT.py`")
        if place in taken:
            raise UsageError(
                f"`{taken[place]}` and `{file}` would both be written to `{target}`", "compile them one by one"
            )
        taken[place] = file
    return targets


def _compile(file: str, target: str, sizes: Mapping[str, int], terminal: Terminal, arguments: Namespace) -> None:
    program = load(file, sizes, terminal)
    compilation = stages(program, sizes)
    require_sizes(program, compilation.match, sizes, file)
    source = compilation.source
    assert source is not None
    if arguments.standalone:
        source = standalone(source)
    if target == "-":
        sys.stdout.write(source)
    else:
        if arguments.output is None:
            _refuse_foreign(target)
            _refuse_shadow(target)
        replace_file(target, source.encode())
    terminal.line((file, "bold"))
    fixed = ", ".join(f"{k} = {v}" for k, v in sizes.items())
    for stage, summary in (
        ("program", _program(program)),
        ("normal form", _normal_form(compilation)),
        ("structure", f"{compilation.match.structure}: {compilation.match.summary(show)}"),
        (
            "module",
            f"class {compilation.class_name}, {source.count(chr(10))} lines, {f'at {fixed}' if fixed else 'any sizes'}"
            + (f", standalone: imports {', '.join(packages(source))}" if arguments.standalone else ""),
        ),
        ("written", "stdout" if target == "-" else target),
    ):
        terminal.line("  ", (f"{stage:<13}", "cyan"), summary)


def _refuse_foreign(target: str) -> None:
    """Beside ``ridge.opt`` there may be a ``ridge.py`` that somebody wrote by hand."""
    path = Path(target)
    if path.is_file() and path.stat().st_size and SIGNATURE not in path.read_text("utf-8", errors="replace"):
        raise unwritable(
            target,
            f"`{target}` exists and was not written by this compiler",
            help=f"name another file with `-o OUT.py`, or overwrite it with `-o {target}`",
        )


def _refuse_shadow(target: str) -> None:
    """A ``torch.py`` beside ``torch.opt`` would be what ``import torch`` finds there, in the module itself too."""
    name = Path(target).stem
    if name in SHADOWED or name in sys.stdlib_module_names:
        raise unwritable(
            target,
            f"`{target}` would be imported in place of the package `{name}`",
            help=f"rename the program, or name another file with `-o {name}_layer.py`",
        )


def _program(program: Program) -> str:
    owned = [
        f"{n} {kind}" for kind in ("learned", "constant") if (n := sum(p.binding == kind for p in program.parameters))
    ]
    parts = [
        counted(len(program.parameters), "parameter") + (f" ({', '.join(owned)})" if owned else ""),
        counted(len(program.variables), "variable"),
        counted(len(program.constraints), "constraint"),
        *([counted(len(program.externs), "extern")] if program.externs else []),
    ]
    return f"{program.name}: {', '.join(parts)}"


def _normal_form(compilation: Compilation) -> str:
    normal = compilation.canonical.normal
    if normal is None:
        solve = compilation.program.objective.sense == "solve"
        return "a square system of equations" if solve else "a smooth problem, solved on the branch of its start"
    return f"minimise {_terms(normal)}{_constraints(normal)}"


def _terms(normal: NormalForm) -> str:
    kinds = [
        (sum(isinstance(t, Squares) for t in normal.terms), "square"),
        (sum(isinstance(t, Affine) for t in normal.terms), "affine term"),
        (sum(not isinstance(t, Squares | Affine) for t in normal.terms), "convex term"),
    ]
    return " + ".join(counted(n, word) for n, word in kinds if n) or "zero"


def _constraints(normal: NormalForm) -> str:
    words = {"==": ("equality", "equalities"), "<=": ("inequality", "inequalities"), "psd": ("cone", "cones")}
    found = [(sum(c.relation == r for c in normal.constraints), *pair) for r, pair in words.items()]
    parts = [f"{n} {one if n == 1 else many}" for n, one, many in found if n]
    return f" subject to {', '.join(parts)}" if parts else ""


def counted(number: int, noun: str) -> str:
    """``1 square``, ``2 squares``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
