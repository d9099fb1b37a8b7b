"""Compile three layers, train a classifier made of them, and show what it learnt: ``python -m examples.digits``."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import nn

import declarative as dl
from examples.digits.data import Digits, load
from examples.digits.figure import DECLARED, DENSE, Curve, draw
from examples.digits.model import DeclaredReader, Layers, dense_reader_of, size
from examples.digits.training import Epoch, Recipe, accuracy, train

HERE = Path(__file__).parent
OUT = HERE.parent / "out"
SEED = 0


def main() -> None:
    """The whole demonstration."""
    started = time.perf_counter()
    console = Console(highlight=False)
    OUT.mkdir(exist_ok=True)
    torch.set_num_threads(1)  # the tensors are small: a second thread only waits for the first

    console.print("\n[bold]1  Compile[/]  three problems to PyTorch modules\n")
    layers = Layers(**{name: compiled(name, console) for name in ("attend", "decide", "choose")})

    console.print("\n[bold]2  Train[/]  a reader of digits made of them, and a dense one with as many weights\n")
    digits, recipe = load(), Recipe()
    torch.manual_seed(SEED)
    declared = DeclaredReader(layers)
    dense = dense_reader_of(size(declared))
    histories = trained({"declared": declared, "dense": dense}, digits, recipe, console)

    console.print("\n[bold]3  Test[/]  on images that nothing above has seen\n")
    curves = [
        Curve("with declared layers", DECLARED, histories["declared"], accuracy(declared, digits.test)),
        Curve("dense baseline", DENSE, histories["dense"], accuracy(dense, digits.test)),
    ]
    with torch.no_grad():
        reading = declared(digits.test.images)
    console.print(results(curves, (declared, dense), len(digits.test)))
    read = (reading.weights > 0).sum(-1).double().mean()
    console.print(
        f"  a question reads {read:.1f} of {reading.weights.shape[-1]} windows; the other weights are exactly zero\n"
        f"  {(reading.price > 1e-6).double().sum(-1).mean():.1f} of {reading.price.shape[-1]} learned limits bind "
        f"in a decision\n  the learned temperature is {declared.choose.tau.item():.2f}"
    )
    draw(OUT / "digits.png", curves, reading, digits.test)
    console.print(f"\n  figure   {shown(OUT / 'digits.png')}")
    console.print(f"  modules  {shown(OUT)}/attend.py, decide.py, choose.py")
    console.print(f"  time     {time.perf_counter() - started:.0f} s\n")


def compiled(name: str, console: Console) -> type[dl.Layer]:
    """The class that a problem compiles to, from the module as it is on disk, which needs no compiler."""
    target = OUT / f"{name}.py"
    layer = dl.compile(HERE / f"{name}.opt")
    target.write_text(layer.source(), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    structure = next(line for line in layer.source().splitlines() if line.startswith("Structure: "))
    console.print(
        f"  {name}.opt -> {shown(target)}",
        f"    [dim]{structure.removeprefix('Structure: ')}[/]",
        sep="\n",
        soft_wrap=True,
    )
    loaded: type[dl.Layer] = getattr(module, layer.__name__)
    return loaded


def trained(models: dict[str, nn.Module], digits: Digits, recipe: Recipe, console: Console) -> dict[str, list[Epoch]]:
    """Train each model in turn, with live progress; the history of each."""
    histories: dict[str, list[Epoch]] = {}
    columns = (
        TextColumn("  {task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console) as progress:
        tasks = {name: progress.add_task(name, total=recipe.epochs, start=False, state="") for name in models}
        for name, model in models.items():
            progress.start_task(tasks[name])
            histories[name] = []
            for epoch in train(model, digits.train, digits.validation, recipe, SEED):
                histories[name].append(epoch)
                state = f"loss {epoch.loss:6.4f}   validation {epoch.accuracy:6.1%}"
                progress.update(tasks[name], advance=1, state=state)
    return histories


def results(curves: list[Curve], models: tuple[nn.Module, nn.Module], images: int) -> Table:
    """Test accuracy of each reader, with the number of its weights."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("reader")
    table.add_column("weights", justify="right")
    table.add_column(f"right of {images}", justify="right")
    table.add_column("test accuracy", justify="right", style="bold")
    for curve, model in zip(curves, models, strict=True):
        table.add_row(curve.label, f"{size(model)}", f"{round(curve.test * images)}", f"{curve.test:.2%}")
    return table


def shown(path: Path) -> str:
    """A path as the caller would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    main()
