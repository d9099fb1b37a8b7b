"""Numbers into Markdown, pictures and files, and the installer's reading of its list."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import peers, report, results
from benchmarks.candidates.candidate import Kind
from benchmarks.cases import Tolerance
from benchmarks.limits import Limit
from benchmarks.measuring import Row
from benchmarks.results import Measured, Results

TOLERANCE = Tolerance(1e-6, 1e-4)
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def row(name: str, kind: Kind, seconds: float, x: float = 1e-15, gradient: float = 1e-12) -> Row:
    return Row(name, kind, {0: seconds, 1: seconds}, x, gradient, TOLERANCE)


ROWS = (
    row("declarative", Kind.OURS, 0.002),
    row("Moreau", Kind.LAYER, 0.010),
    row("hasty", Kind.LAYER, 0.001, x=1e-3),
    row("proxsuite.torch", Kind.LAYER, 0.004),
    row("DAQP in a loop", Kind.LOOP, 0.003),
    Row("absent", Kind.LAYER, reason="not installed (absent)"),
)
WORK = Measured("batch", "(10, 5, 2), batch 128", 128, ROWS, Limit(0.0005, "flops"), 1e-14)
CURVES = tuple(
    Measured(section, f"(10, 5, 2), batch {at}", at, ROWS[:4], at=at)
    for section in ("batch 10", "size")
    for at in (1, 64)
)
RESULTS = Results({"torch": "2"}, {"effort": "Short."}, {"copy": "1 GB/s"}, (WORK, *CURVES))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_table_has_ours_first_then_by_time_and_reasons_last() -> None:
    lines = [cells(line) for line in report.table(WORK).splitlines()[2:]]
    names = [line[0] for line in lines]
    assert names == ["**declarative**", "hasty", "DAQP in a loop", "proxsuite.torch", "Moreau", "absent"]
    by_name = dict(zip(names, lines, strict=True))
    assert by_name["**declarative**"] == [
        "**declarative**",
        "2.00 ms",
        "2.00 ms",
        "",
        "1e-15",
        "1e-12",
        "25 % of the limit (flops)",
    ]
    assert by_name["Moreau"][3] == "5.00x"
    assert by_name["hasty"][-1] == "**inexact**: x"
    assert by_name["DAQP in a loop"][-1] == "no layer"
    assert by_name["absent"][1:] == ["", "", "", "", "", "not installed (absent)"]


def test_the_summary_names_the_fastest_exact_ones() -> None:
    (line,) = report.summary(RESULTS).splitlines()[2:]
    assert cells(line) == [
        "(10, 5, 2), batch 128", "2.00 ms", "proxsuite.torch", "2.00x", "DAQP in a loop", "1.50x", "25 %, flops",
    ]  # fmt: skip


def test_a_work_that_could_not_be_measured_says_so() -> None:
    assert report.table(Measured("batch", "t", 1, (), reason="NotExactError: far")) == "NotExactError: far"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(1.5, "1.50 s"), (0.0123456, "12.3 ms"), (4.2e-5, "42.0 µs"), (1234.0, "1,234 s"), (0.9999, "1,000 ms")],
)
def test_durations_have_three_digits(seconds: float, shown: str) -> None:
    assert report.duration(seconds) == shown


def test_places_are_filled_and_the_rest_is_left() -> None:
    page = "before\n<!-- one -->\nold\n<!-- end of one -->\nbetween\n<!-- two -->\n<!-- end of two -->\nafter\n"
    filled = report.placed(page, {"one": r"new \1", "two": "2"})
    lines = ["before", "<!-- one -->", "", r"new \1", "", "<!-- end of one -->", "between"]
    assert filled.splitlines() == [*lines, "<!-- two -->", "", "2", "", "<!-- end of two -->", "after"]
    assert report.placed(filled, {"one": r"new \1", "two": "2"}) == filled
    with pytest.raises(ValueError, match="places"):
        report.placed(page, {"one": "new"})


def test_the_page_has_a_place_for_everything() -> None:
    contents = report.places(RESULTS, ["a picture"])
    filled = report.placed(PAGE.read_text(encoding="utf-8"), contents)
    assert "a picture" in filled
    assert report.table(WORK) in filled


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    RESULTS.write(tmp_path / "deep" / "numbers.json")
    assert results.read(tmp_path / "deep" / "numbers.json") == RESULTS


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    results.replace(page, b"first")

    def failing(self: Path, content: bytes) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(OSError, match="disk full"):
        results.replace(page, b"second")
    assert page.read_text() == "first"


def test_figures_show_every_candidate_and_are_reproducible(tmp_path: Path) -> None:
    figures = pytest.importorskip("benchmarks.figures", exc_type=ImportError)
    shown = figures.write(RESULTS, tmp_path / "figures")
    files = sorted((tmp_path / "figures").iterdir())
    assert len(files) == 6
    assert all((tmp_path / name).exists() for line in shown for name in re.findall(r'src(?:set)?="([^"]+)"', line))
    contents = [file.read_bytes() for file in files]
    for content in contents:
        drawn = content.decode()
        assert ElementTree.fromstring(drawn).tag.endswith("svg")
        assert "<dc:date>" not in drawn
    by_name = dict(zip([f.name for f in files], contents, strict=True))
    curve = by_name["benchmark-batch-light.svg"].decode()
    for name in ("declarative", "Moreau", "proxsuite.torch", "hasty"):
        assert f"<!-- {name} -->" in curve
    figures.write(RESULTS, tmp_path / "figures")
    assert [file.read_bytes() for file in files] == contents


def test_styles_follow_the_longest_beginning() -> None:
    figures = pytest.importorskip("benchmarks.figures", exc_type=ImportError)
    assert figures.family("cvxpylayers, Moreau") == "cvxpylayers, Moreau"
    assert figures.family("cvxpylayers, Clarabel at 1e-12") == "cvxpylayers"
    assert figures.style("unheard of") == ("#888888", ".")
    assert len(set(figures.STYLES.values())) == len(figures.STYLES)


def test_the_list_of_peers_is_read() -> None:
    found = peers.peers("# comment\n\none==1.0\ntwo==2 alone  # why\n")
    assert found == [peers.Peer("one==1.0", False), peers.Peer("two==2", True)]
    assert [peer.name for peer in found] == ["one", "two"]
    assert all("==" in peer.requirement for peer in peers.peers(peers.FILE.read_text(encoding="utf-8")))


def test_a_failed_installation_keeps_the_last_error() -> None:
    told = "WARNING: old\nERROR: first\nERROR: No matching distribution found for peer==9\n\n[notice] new pip\n"
    assert peers.last_error(told) == "No matching distribution found for peer==9"
    assert peers.last_error("Killed\n") == "Killed"


def test_installing_what_there_is_not_gives_a_reason() -> None:
    reason = peers.install(peers.Peer("no-such-peer-of-ours==0.0.0", False), ["--no-index"])
    assert reason is not None
    assert "no-such-peer-of-ours" in reason
