"""The command line: compile, check, explain, solve and diagnose ``.opt`` files. One file per command."""

from declarative.cli.command_line import main

__all__ = ["main"]
