"""Train an autoencoder in six ways, weigh what their gradients cost, draw both: ``python -m examples.savi``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from statistics import mean, stdev

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from examples.command import OUT, full, show, wrote
from examples.digits.data import Digits, load
from examples.savi.cost import Costs, measure
from examples.savi.experiments import FULL, GAMMA, SHORT, SWEPT, TABLE, Outcome, Plan, Run, carried_out, model_of
from examples.savi.figure import Findings, draw
from examples.savi.model import AMORTISED, PROXIMAL, Vae, draws
from examples.savi.training import RECIPE, Verdict


def main(plan: Plan, console: Console) -> None:
    """The tables and the figure."""
    started = time.perf_counter()
    digits = load()
    outcomes = watched(plan.runs(), console)
    table = {method.name: [outcomes[run].verdict for run in plan.table(method)] for method in TABLE}
    columns = ("trained by", "encoder", "inferred", "gain", "refined", "active", "seconds")
    show(f"Bound on {len(digits.test)} held-out images, nats", columns, list(results(table)))

    model = model_of(outcomes[plan.table(PROXIMAL)[0]].weights)
    noise = draws(RECIPE.batch, torch.Generator().manual_seed(1))
    costs = measure(model, digits.train.images[: len(noise)].flatten(1), noise, GAMMA, plan.cost_steps)
    columns = ("inner steps", "unrolled, MiB", "implicit, MiB", "unrolled, ms", "implicit, ms")
    show(f"One gradient of the layer, {len(noise)} images", columns, list(weighed(costs)))

    active = {m.name: {g: outcomes[run].verdict.active for g, run in plan.sweep(m).items()} for m in SWEPT}
    rows = [(name, *map(str, counts.values())) for name, counts in active.items()]
    show("Active units", ("variance of the emission", *(f"{g:g}" for g in plan.gammas)), rows)
    findings = Findings(
        costs=costs,
        table=table,
        bounds={k: outcomes[run].verdict.inferred for k, run in plan.unrolls().items()},
        active=active,
        spectrum=torch.linalg.eigvalsh(digits.train.images.flatten(1).T.cov()),
        pictures=before_and_after(model, digits),
    )
    draw(OUT / "savi.png", findings)
    wrote(OUT / "savi.png")
    print(f"  time    {time.perf_counter() - started:.0f} s")


def watched(runs: Sequence[Run], console: Console) -> dict[Run, Outcome]:
    """The outcome of each run, with progress."""
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcomes: dict[Run, Outcome] = {}
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(runs))
        for run, outcome in carried_out(runs):
            outcomes[run] = outcome
            progress.advance(task)
    return outcomes


@torch.no_grad()
def before_and_after(model: Vae, digits: Digits) -> Mapping[str, Tensor]:
    """The first held-out image of each class, and what is decoded of the proposal and of the solution."""
    chosen = torch.stack([(digits.test.classes == c).nonzero()[0, 0] for c in range(10)])
    images = digits.test.images[chosen]
    x, noise = images.flatten(1), draws(10, torch.Generator().manual_seed(2))
    rows = {"image": images}
    for label, method in (("the encoder's\nproposal", AMORTISED), ("the layer's\nsolution", PROXIMAL)):
        posterior, _ = model.infer(x, noise, GAMMA, method)
        rows[label] = model.savi.decode(posterior.mu).unflatten(-1, images.shape[1:])
    return rows


def weighed(costs: Costs) -> Iterator[tuple[str, ...]]:
    """Memory and time by the number of steps, a row each."""
    for k, u, i in zip(costs.steps, costs.unrolled, costs.implicit, strict=True):
        yield str(k), *(f"{v:.1f}" for v in (u.memory, i.memory, 1000 * u.seconds, 1000 * i.seconds))
    newton = costs.newton
    yield f"Newton: {costs.newton_steps}", "", f"{newton.memory:.1f}", "", f"{1000 * newton.seconds:.1f}"


def results(verdicts: Mapping[str, Sequence[Verdict]]) -> Iterator[tuple[str, ...]]:
    """Means over the seeds, of bounds with standard deviations; the gain is over amortised inference by seed."""
    baseline = verdicts[AMORTISED.name]
    for name, runs in verdicts.items():
        proposal, inferred, refined, active, seconds = (
            [getattr(v, field.name) for v in runs] for field in fields(Verdict)
        )
        gain = [value - base.inferred for value, base in zip(inferred, baseline, strict=True)]
        yield name, *map(spread, (proposal, inferred, gain, refined)), f"{mean(active):.1f}", f"{mean(seconds):.1f}"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation, the latter where there is more than one value."""
    if any(v != v for v in values):
        return "-"
    average = f"{mean(values):.2f}"
    return f"{average} ± {stdev(values):.2f}" if len(values) > 1 else average


if __name__ == "__main__":
    asked = full(__doc__ or "", "five seeds, more steps, more variances: ten minutes on two cores")
    torch.set_default_dtype(torch.float32)
    main(FULL if asked else SHORT, Console(highlight=False))
