"""Measure everything, and write the page, its figures and the numbers behind them.

python -m benchmarks            seven minutes; writes docs/benchmarks.md
python -m benchmarks --quick    two minutes; small works, few rounds, written to build/benchmarks
python -m benchmarks --only batch simplex    these sections again, the others as the last run left them
python -m benchmarks --render   the page and figures again, from the numbers of the last run
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Callable, Collection
from functools import partial
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import figures, limits, machine, report, results, works
from benchmarks.apart import Settings
from benchmarks.candidates.candidate import Candidate, Kind
from benchmarks.cases import DOUBLE, SINGLE, Answer
from benchmarks.limits import Limit
from benchmarks.measuring import Crew, Effort, Row, measure
from benchmarks.reference import Exact
from benchmarks.results import Measured, Results
from benchmarks.works import Work

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
EFFORT = {"tables": Effort(2.0, 15), "curves": Effort(0.4, 5)}
KEEPING = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
QUICK = {"tables": Effort(0.15, 3), "curves": Effort(0.05, 2)}


def run(threads: int, quick: bool, console: Console, only: Collection[str] = ()) -> Results:
    """Measure all works on ``threads`` threads, or those of the sections ``only``."""
    Settings(threads, DOUBLE).hold()
    at_best = limits.Machine(threads)
    effort = QUICK if quick else EFFORT
    works_of = {
        kind: [work for work in made(quick) if not only or work.section in only]
        for kind, made in (("tables", works.tables), ("curves", works.curves))
    }
    measured: list[Measured] = []
    with progress_on(console) as progress:
        task = progress.add_task("", total=sum(map(len, works_of.values())), doing="")

        def told(work: Work, doing: str) -> None:
            progress.update(task, completed=len(measured), description=work.title, doing=doing, refresh=True)

        for kind, of_kind in works_of.items():
            for _, section in groupby(of_kind, lambda work: work.section):
                with Crew() as crew:
                    for work in section:
                        slow = too_slow(measured, work, effort[kind]) if kind == "curves" else {}
                        measured.append(measure_work(work, at_best, effort[kind], slow, crew, partial(told, work)))
        progress.update(task, completed=len(measured), doing="")
    settings = {
        "effort": f"Each candidate of a table had {effort['tables'].seconds:g} s and at most {effort['tables'].rounds} "
        f"rounds, of a curve {effort['curves'].seconds:g} s and {effort['curves'].rounds}.",
        "certificate": "The references of this run satisfy the KKT conditions, and agree with the independent "
        f"gradients, to {max((one.certificate for one in measured), default=0.0):.0e}.",
    }
    return Results(machine.environment(threads), settings, peaks(at_best, threads), tuple(measured))


def progress_on(console: Console) -> Progress:
    """Drawn when it is told something, while no candidate works: not by a thread of its own."""
    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}"), TextColumn("{task.description}"))
    shown = (*columns, TextColumn("[dim]{task.fields[doing]}"), TimeElapsedColumn())
    return Progress(*shown, console=console, auto_refresh=False)


def measure_work(
    work: Work, at_best: limits.Machine, effort: Effort, slow: dict[str, str], crew: Crew, told: Callable[[str], None]
) -> Measured:
    """One work with its rows; a work that cannot be stated at all has its reason and no rows."""
    told("the exact answer")
    case = work.case()
    known: dict[object, Exact] = {}

    def exact(candidate: Candidate) -> Exact:
        key = candidate.dtype, candidate.kind is Kind.YARDSTICK and work.section == "simplex"
        if key not in known:
            known[key] = work.exact(case, candidate)
        return known[key]

    def answer(candidate: Candidate) -> Answer:
        return exact(candidate).answer

    try:
        limit: Limit | None = work.limit(at_best, case, exact(work.candidates[0]))
        taken = [c for c in work.candidates if c.name not in slow]
        rows = measure(work.case, answer, taken, effort, crew, told)
    except Exception as problem:  # the others are measured all the same, and the page says why this one is not
        return Measured(
            work.section, work.title, case.batch, (), at=work.at, reason=f"{type(problem).__name__}: {problem}"
        )
    left = [Row(c.name, c.kind, reason=slow[c.name]) for c in work.candidates if c.name in slow]
    certificate = max(max(one.certificate) for one in known.values())
    return Measured(work.section, work.title, case.batch, (*rows, *left), limit, certificate, work.at)


def too_slow(measured: list[Measured], work: Work, effort: Effort) -> dict[str, str]:
    """The candidates whose call at an earlier point of the same curve was long already, or that failed there."""
    found: dict[str, str] = {}
    for one in measured:
        for row in one.rows if one.section == work.section else ():
            if not row.measured:
                found[row.name] = row.reason
            elif row.kind is not Kind.OURS and row.least > 2 * effort.seconds:
                found[row.name] = f"left out: {report.duration(row.least)} at the point before"
    return found


def peaks(at_best: limits.Machine, threads: int) -> dict[str, str]:
    """What the machine could do, in words."""
    rate = lambda dtype, count: f"{at_best.peak(dtype, count) / 1e9:.0f}"  # noqa: E731
    cache, memory = (at_best.bandwidth(size) / 1e9 for size in (1 << 20, 1 << 28))
    return {
        "matrix product": f"{rate(DOUBLE, threads)} GFlop/s in float64 ({rate(DOUBLE, 1)} on one thread), "
        f"{rate(SINGLE, threads)} in float32",
        "copy": f"{cache:.0f} GB/s with 1 MiB in use, {memory:.0f} with 256 MiB",
        "empty autograd function": f"{1e6 * at_best.dispatch:.0f} µs forward and backward",
    }


def write(found: Results, page: Path, text: str) -> None:
    """Numbers, figures and page, each whole or not at all; the page, which refers to the others, last."""
    found.write(page.with_suffix(".json"))
    shown = figures.write(found, page.parent / "figures")
    results.replace(page, report.placed(text, report.places(found, shown)).encode())


def keep_memory() -> None:
    """Begin again, where the C library is glibc, with an allocator that keeps what is given back to it.

    At its defaults whether a result of some megabytes is fresh memory, with a page fault for every 4 KiB, depends on
    what else lies on the heap: the same call takes one time or three, whoever makes it.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc" and not KEEPING.keys() & os.environ.keys():
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]], os.environ | KEEPING)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small works, few rounds; writes to build/benchmarks")
    parser.add_argument("--render", action="store_true", help="measure nothing, write page and figures again")
    parser.add_argument("--only", nargs="+", default=(), metavar="SECTION", help="measure these sections again")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and of every peer (2)")
    parser.add_argument("--page", type=Path, help="the page to write (docs/benchmarks.md)")
    options = parser.parse_args()
    page = options.page or (ROOT / "build" / "benchmarks" / PAGE.name if options.quick else PAGE)
    console = Console(width=max(160, shutil.get_terminal_size().columns))
    before = results.read(page.with_suffix(".json")) if options.render or options.only else None
    if not options.render:
        keep_memory()
    found = (
        before if before is not None and options.render else run(options.threads, options.quick, console, options.only)
    )
    if before is not None and options.only:
        if not found.measured:
            parser.error(f"--only: no section of these names; expected some of {', '.join(before.sections)}")
        found = before.with_sections(found)
    write(found, page, PAGE.read_text(encoding="utf-8"))
    console.print(Markdown(report.summary(found)))
    console.print(f"written: {page}")


if __name__ == "__main__":
    main()
