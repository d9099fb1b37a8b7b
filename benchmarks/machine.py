"""What a run ran on: processor, system, and the versions of everything that took part."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from pathlib import Path

import torch

from benchmarks.peers import FAILURES
from declarative.runtime.native import library

PEERS = ("cvxpylayers", "cvxpy", "diffcp", "clarabel", "moreau", "proxsuite", "qpth", "daqp", "jaxopt", "jax", "entmax")


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment(threads: int) -> dict[str, str]:
    """What the page says of the machine and the versions, by name, in order."""
    found = {
        "processor": f"{processor()}, {threads} threads of torch",
        "compiled kernels": library.instructions() or "not built",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "torch": torch.__version__,
        "numpy": version("numpy") or "",
    }
    reasons = failures()
    for peer in PEERS:
        found[peer] = version(peer) or reasons.get(peer, "not installed")
    return found


def failures() -> dict[str, str]:
    """Peer to the reason why it is not installed."""
    told = Path(sys.prefix) / FAILURES
    return json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
