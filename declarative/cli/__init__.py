"""The command line: compile, check, explain, solve, diagnose and format ``.opt`` files. One file per command."""

from declarative.cli.command_line import main

__all__ = ["main"]
