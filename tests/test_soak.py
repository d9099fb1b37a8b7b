"""Five hundred steps of the soak; `make soak` runs twenty thousand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak import PROC, Usage, grown

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not (PROC / "statm").exists(), reason="memory is read from /proc")
def test_nothing_grows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--steps", "500"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "step 500: loss" in done.stdout
    assert "not_finite" in done.stdout
    assert done.stdout.endswith("nothing grew\n")


def test_growth_is_told() -> None:
    before = Usage(memory=400.0, threads=2, files=6, objects=10_000)
    assert grown(before, Usage(memory=407.0, threads=2, files=6, objects=10_050)) == []
    found = grown(before, Usage(memory=410.0, threads=3, files=7, objects=20_000))
    assert found == [
        "memory grew from 400.0 to 410.0 MiB",
        "threads: 2 after the warm-up, 3 at the end",
        "files: 6 after the warm-up, 7 at the end",
        "the collector knows 20000 objects, 10000 after the warm-up",
    ]
