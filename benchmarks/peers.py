"""Installs the peers into the environment that runs this, each on its own, and keeps the reasons of those that fail.

python -m benchmarks.peers [arguments for pip]
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("peers.txt")
FAILURES = "peers.json"


class Peer(NamedTuple):
    """A line of the file: what pip is asked for, and whether with its dependencies."""

    requirement: str
    alone: bool

    @property
    def name(self) -> str:
        return re.split(r"[=<>!~ ]", self.requirement, maxsplit=1)[0]


def peers(text: str) -> list[Peer]:
    """The lines that are no comments."""
    lines = (line.split("#")[0].split() for line in text.splitlines())
    return [Peer(words[0], words[1:] == ["alone"]) for words in lines if words]


def install(peer: Peer, arguments: list[str]) -> str | None:
    """The reason why it failed, in one line, or None."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
    done = subprocess.run([*pip, *["--no-deps"][: peer.alone], peer.requirement], capture_output=True, text=True)
    return None if done.returncode == 0 else last_error(done.stderr)


def last_error(told: str) -> str:
    """What pip says last, without its prefix."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["pip gave no reason"])[-1].removeprefix("ERROR: ")[:200]


def main(arguments: list[str]) -> None:
    failures = {}
    for peer in peers(FILE.read_text(encoding="utf-8")):
        reason = install(peer, arguments)
        print(f"  {peer.requirement}: {'installed' if reason is None else reason}", flush=True)
        if reason is not None:
            failures[peer.name] = f"does not install here: {reason}"
    (Path(sys.prefix) / FAILURES).write_text(json.dumps(failures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
