"""``declarative solve``: the solution for given data, with its status and residual."""

from __future__ import annotations

import io
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from torch import Tensor

from declarative.cli.arguments import UsageError
from declarative.cli.atomic import replace_file, require_writable
from declarative.cli.posed import Posed, pose
from declarative.cli.terminal import Terminal
from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError
from declarative.ir.program import Dual, OptimalValue, Output
from declarative.runtime.errors import LayerError
from declarative.runtime.layer import Solution
from declarative.runtime.status import Status

STEPS = 32
"""A batch is solved in about so many chunks, so that progress can be told."""
SMALLEST_CHUNK = 32
LISTED = 8
"""Instances without a solution that are named."""
SHOWN = 3
"""Entries at either end of a long vector, and instances of a batch, that are printed."""


@dataclass(frozen=True)
class Result:
    """A solution as arrays: ``outputs`` and ``duals`` by name, each (*batch, *shape); the rest (*batch)."""

    outputs: Mapping[str, Tensor]
    duals: Mapping[str, Tensor]
    status: Tensor
    iterations: Tensor
    residuals: Tensor


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Solve and print; exit code 1 where an instance has no solution."""
    if arguments.output is not None and not arguments.output.endswith(".npz"):
        raise UsageError(f"`-o {arguments.output}` is not an .npz file", "the results are arrays by name: -o out.npz")
    if arguments.output is not None:
        require_writable(arguments.output)
    posed = pose(arguments, terminal)
    shown = arguments.progress or terminal.err.file.isatty()
    try:
        result = _solve(posed, terminal, progress=shown)
    except LayerError as error:
        raise DiagnosticError([Diagnostic("E704", str(error).partition(": ")[2] or str(error))]) from None
    _print(posed, result, terminal, arguments.dtype)
    if arguments.output is not None:
        replace_file(arguments.output, _archive(result))
        terminal.line("\nwritten to ", arguments.output)
    return _verdict(result, terminal)


def _solve(posed: Posed, terminal: Terminal, *, progress: bool) -> Result:
    """The whole batch, chunk by chunk; what an instance gets does not depend on its neighbours."""
    count = posed.batch.numel()
    size = max(SMALLEST_CHUNK, -(-count // STEPS))
    if count <= size:
        with torch.no_grad():
            return _joined(posed, [(count, posed.layer.solve(**posed.arguments))])
    columns = (TextColumn("solving"), BarColumn(), MofNCompleteColumn(), TextColumn("instances"), TimeRemainingColumn())
    bar = Progress(*columns, console=terminal.err, transient=True) if progress else None
    parts = []
    with torch.no_grad(), bar if bar is not None else nullcontext():
        task = None if bar is None else bar.add_task("", total=count)
        for length, chunk in _chunks(posed, count, size):
            parts.append((length, posed.layer.solve(**chunk)))
            if bar is not None and task is not None:
                bar.update(task, advance=length)
    return _joined(posed, parts)


def _chunks(posed: Posed, count: int, size: int) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """The arguments of consecutive instances; what all of them share stays shared."""
    ranks = {p.name: p.rank for p in posed.program.parameters}
    flat = {}
    for name, value in posed.arguments.items():
        lead = value.dim() - ranks[name]
        core = value.shape[lead:]
        flat[name] = value if lead == 0 else value.expand((*posed.batch, *core)).reshape(count, *core)
    shared = {name for name, value in posed.arguments.items() if value.dim() == ranks[name]}
    for first in range(0, count, size):
        last = min(first + size, count)
        yield last - first, {n: v if n in shared else v[first:last] for n, v in flat.items()}


def _joined(posed: Posed, parts: list[tuple[int, Solution]]) -> Result:
    program, batch = posed.program, posed.batch
    whole = len(parts) == 1

    def join(tensors: list[Tensor], rank: int) -> Tensor:
        """One tensor (*batch, *core); what does not depend on the batch is repeated."""
        if whole:
            return tensors[0].expand((*batch, *tensors[0].shape[tensors[0].dim() - rank :]))
        full = [t.expand((n, *t.shape[t.dim() - rank :])) for (n, _), t in zip(parts, tensors, strict=True)]
        joined = torch.cat(full)
        return joined.reshape(*batch, *joined.shape[1:])

    outputs = {}
    for position, output in enumerate(program.outputs):
        found = [s.outputs if len(program.outputs) == 1 else s.outputs[position] for _, s in parts]
        outputs[output.name] = join(found, _rank(posed, output))
    names = {program.constraint_name(i): _dual_rank(posed, i) for i in range(len(program.constraints))}
    duals = {n: join([s.duals[n] for _, s in parts], rank) for n, rank in names.items() if n in parts[0][1].duals}
    return Result(
        outputs,
        duals,
        join([s.status for _, s in parts], 0),
        join([s.iterations for _, s in parts], 0),
        join([s.residuals for _, s in parts], 0),
    )


def _rank(posed: Posed, output: Output) -> int:
    match output.value:
        case Dual(constraint=name):
            names = [posed.program.constraint_name(i) for i in range(len(posed.program.constraints))]
            return _dual_rank(posed, names.index(name))
        case OptimalValue():
            return 0
        case expression:
            return expression.rank


def _dual_rank(posed: Posed, position: int) -> int:
    constraint = posed.program.constraints[position]
    return len(constraint.indices) + max(term.rank for term in constraint.terms)


def _print(posed: Posed, result: Result, terminal: Terminal, dtype: str) -> None:
    count = posed.batch.numel()
    sizes = [f"{d.name} = {posed.sizes[d.name]}" for d in posed.program.dimensions if d.name in posed.sizes]
    instances = f"{count} instance{'' if count == 1 else 's'}"
    facts = ", ".join([instances, *sizes, posed.compilation.match.structure, dtype])
    terminal.line((posed.program.name, "bold"), f": {facts}\n")
    table = _table("status", "instances", "largest residual", "iterations")
    for status in Status:
        chosen = result.status == int(status)
        if not bool(chosen.any()):
            continue
        residuals, iterations = result.residuals[chosen], result.iterations[chosen]
        low, high = int(iterations.min()), int(iterations.max())
        table.add_row(
            Text(status.label, "green" if status is Status.SOLVED else "yellow" if status is Status.SADDLE else "red"),
            str(int(chosen.sum())),
            f"{float(residuals.max()):.1e}",
            "closed form" if posed.layer.solution is not None else str(low) if low == high else f"{low} to {high}",
        )
    terminal.show(table)
    terminal.line("")
    values = _table("output", "shape", "value" if not posed.batch else f"value of the first {min(SHOWN, count)}")
    lead = len(posed.batch)
    for name, tensor in result.outputs.items():
        shape = "scalar" if tensor.dim() == lead else str(tuple(tensor.shape[lead:]))
        flat = tensor.reshape(count, *tensor.shape[lead:])[:SHOWN].numpy()
        states = [Status(code) for code in result.status.flatten()[:SHOWN].tolist()]
        texts = [_shortened(row) if s.usable else s.label for row, s in zip(flat, states, strict=True)]
        values.add_row(name, shape, "\n".join(texts) + ("\n..." if posed.batch and count > SHOWN else ""))
    terminal.show(values)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("instances", "largest residual") else "left")
    return table


def _shortened(array: np.ndarray[Any, Any]) -> str:
    """An array on few lines: six digits, the middle of a long one left out."""
    if array.ndim == 0:
        return f"{float(array) + 0.0:.6g}"
    text = np.array2string(
        array, precision=5, suppress_small=True, threshold=2 * SHOWN + 2, edgeitems=SHOWN, max_line_width=10_000
    )
    # What rounds to zero has no sign that a reader would care for.
    return re.sub(r"-0\.(?=[\s\]])", " 0.", text)


def _archive(result: Result) -> bytes:
    """Every array under its name: outputs, ``dual.NAME``, ``solution.status``, ``.iterations`` and ``.residuals``."""
    labels = np.array([s.label for s in Status])
    arrays = {name: value.numpy() for name, value in result.outputs.items()}
    arrays |= {f"dual.{name}": value.numpy() for name, value in result.duals.items()}
    arrays["solution.status"] = labels[result.status.numpy().astype(int)]
    arrays["solution.iterations"] = result.iterations.numpy()
    arrays["solution.residuals"] = result.residuals.numpy()
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _verdict(result: Result, terminal: Terminal) -> int:
    """Exit code 1 with an error that names the instances without a solution."""
    status = [Status(code) for code in result.status.flatten().tolist()]
    failed = {kind: [i for i, s in enumerate(status) if s is kind] for kind in Status if not kind.usable}
    count = sum(map(len, failed.values()))
    if not count:
        return 0
    if len(status) == 1:
        terminal.report([Diagnostic("E705", f"no solution was found: {status[0].label}")])
        return 1
    notes = tuple(f"{kind.label}: {_instances(own)}" for kind, own in failed.items() if own)
    message = f"{count} of {len(status)} instances {'has' if count == 1 else 'have'} no solution"
    terminal.report([Diagnostic("E705", message, notes=notes)])
    return 1


def _instances(numbers: list[int]) -> str:
    listed = ", ".join(map(str, numbers[:LISTED]))
    more = f" and {len(numbers) - LISTED} more" if len(numbers) > LISTED else ""
    return f"instance{'' if len(numbers) == 1 else 's'} {listed}{more}"
