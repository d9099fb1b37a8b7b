"""Layers in two processes, started as a user starts them: `worker` says what is held against what."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

WORKER = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).parents[3]
TOGETHER = ["data_parallel", "failures", "fully_sharded", "scalar_learned", "flat_sharded"]

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this PyTorch has no gloo backend"
)


def launched(*checks: str) -> subprocess.CompletedProcess[str]:
    """Two processes under torchrun, on a port of its own choice."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*run, str(WORKER), *checks],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_two_processes_have_the_gradients_of_one() -> None:
    done = launched(*TOGETHER)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.splitlines() == [f"{check}: as one process" for check in TOGETHER]


def test_an_instance_that_raises_in_one_process_ends_the_job() -> None:
    done = launched("raises")
    assert done.returncode != 0
    assert "SolveError: Allocation: 4 of 4 instances were not solved" in done.stderr
    assert "as one process" not in done.stdout
