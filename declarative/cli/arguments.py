"""What can be written on the command line, and what a wrong word is answered."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

COMMANDS = {
    "compile": "write the torch module of each program",
    "check": "report everything that is wrong with programs, and write nothing",
    "explain": "show how a program is understood, solved and differentiated, or explain a code",
    "solve": "solve a program for given data",
    "diagnose": "measure whether the derivative exists, and compare it with finite differences",
    "format": "write programs in their canonical layout, in place",
    "lsp": "serve an editor: diagnostics, hover, completion, rename and formatting over stdio",
}

SIZED = ("compile", "check", "explain", "solve", "diagnose")
"""The commands that read a program's meaning, and so can be told its dimensions."""

EPILOGUE = {
    "compile": "The module is written beside its source: ridge.opt gives ridge.py.",
    "solve": "A value is a number, a list such as [1,2,3], or a file: x.npy, x.npz, x.npz:key, x.csv, x.json.",
    "diagnose": "The exit code is 0 where every condition holds for every instance, else 1.",
}


class UsageError(Exception):
    """A command line that cannot be understood. ``usage`` shows how it is written."""

    def __init__(self, message: str, help: str = "", usage: str = "") -> None:
        super().__init__(message)
        self.message, self.help, self.usage = message, help, usage


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of leaving."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(allow_abbrev=False, **keywords)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, usage=self.format_usage())


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command line. Raises `UsageError`, and `SystemExit` after printing a help."""
    parser, commands = _parsers()
    _refuse_unknown_command(words, parser)
    arguments, rest = parser.parse_known_args(words)
    command = commands[arguments.command]
    options = [word for word in rest if word.startswith("-") and len(word) > 1]
    if options:
        name = options[0].split("=")[0]
        known = [o for a in command._actions for o in a.option_strings if o.startswith("--")]
        raise UsageError(
            f"`{arguments.command}` has no option `{name}`", suggestion(name, known), command.format_usage()
        )
    if rest and not isinstance(getattr(arguments, "files", None), list):
        raise UsageError(f"`{rest[0]}` is one word too many for `{arguments.command}`", usage=command.format_usage())
    if rest:  # argparse ends a list of files at the first option
        arguments.files += rest
    if getattr(arguments, "output", None) == "":
        raise UsageError("`-o` is empty", "name the file to write", command.format_usage())
    _refuse_loose_sizes(arguments, command)
    return arguments


def suggestion(word: str, known: Sequence[str]) -> str:
    """``did you mean `X`?``, or nothing."""
    close = get_close_matches(word, known, n=1, cutoff=0.55)
    return f"did you mean `{close[0]}`?" if close else ""


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    from declarative import __version__

    parser = Parser(prog="declarative", description="Neural-network layers that are defined by what they solve.")
    parser.add_argument("--version", action="version", version=f"declarative {__version__}")
    _common(parser, "auto")
    found = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    commands = {}
    for name, purpose in COMMANDS.items():
        text = f"{purpose[0].upper()}{purpose[1:]}."
        commands[name] = found.add_parser(name, help=purpose, description=text, epilog=EPILOGUE.get(name))
        _common(commands[name], argparse.SUPPRESS)
    _files(commands["compile"])
    commands["compile"].add_argument("-o", dest="output", metavar="OUT.py", help="the file to write; `-` is stdout")
    alone = (
        "put what the module needs of this package into it, so that it runs where only torch is installed; without the "
        "compiled kernels, so it is slower on the CPU"
    )
    commands["compile"].add_argument("--standalone", action="store_true", help=alone)
    _files(commands["check"])
    commands["check"].add_argument("--format", choices=("text", "json"), default="text", help="json is for editors")
    commands["explain"].add_argument("target", metavar="FILE.opt | CODE", help="a program, or a code such as E203")
    commands["explain"].add_argument("--latex", action="store_true", help="write the program as a LaTeX document")
    commands["explain"].add_argument("-o", dest="output", metavar="OUT.tex", help="the file for --latex (else stdout)")
    for name in ("solve", "diagnose"):
        commands[name].add_argument("file", metavar="FILE.opt")
        _data(commands[name])
    commands["solve"].add_argument("-o", dest="output", metavar="OUT.npz", help="write everything that was computed")
    progress = "show progress even where stderr is not a terminal"
    commands["solve"].add_argument("--progress", action="store_true", help=progress)
    _files(commands["format"])
    check = "write nothing, name the files that would change, and exit with 1 if there are any"
    commands["format"].add_argument("--check", action="store_true", help=check)
    for name in SIZED:
        size = "fix a dimension (may be repeated)"
        commands[name].add_argument("--dim", action="append", default=[], type=_size, metavar="NAME=SIZE", help=size)
    return parser, commands


def _common(parser: Parser, color: str) -> None:
    paint = "`auto` paints on a terminal unless NO_COLOR is set"
    parser.add_argument("--color", choices=("auto", "always", "never"), default=color, help=paint)
    trace = "after an internal error, print where it came from"
    parser.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS, help=trace)


def _files(parser: Parser) -> None:
    parser.add_argument("files", metavar="FILE.opt", nargs="+")


def _data(parser: Parser) -> None:
    value = "a parameter's value (repeated)"
    parser.add_argument("--param", action="append", default=[], type=_named, metavar="NAME=VALUE", help=value)
    module = "a torch module for an extern, as package.module:attribute"
    parser.add_argument("--extern", action="append", default=[], type=_named, metavar="NAME=MODULE", help=module)
    precision = "the precision of the data (default: float64)"
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64", help=precision)
    draws = "seed of what is drawn: learned parameters and externs without values (default: 0)"
    parser.add_argument("--seed", type=int, default=0, metavar="INT", help=draws)


def _named(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip() or not value.strip():
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found `{text}`")
    return name.strip(), value.strip()


def _size(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"\s*(\w+)\s*=\s*(\d+)\s*", text)
    if match is not None and len(match[2]) > 15:
        raise argparse.ArgumentTypeError(f"the size of `{match[1]}` is too large: it has {len(match[2])} digits")
    if match is None or int(match[2]) < 1:
        raise argparse.ArgumentTypeError(f"expected NAME=SIZE with a whole number of at least 1, found `{text}`")
    return match[1], int(match[2])


def named(pairs: Sequence[tuple[str, Any]], option: str) -> dict[str, Any]:
    """Repeated NAME=VALUE as a mapping; a name given twice is a wrong usage."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise UsageError(f"`{option} {name}=...` is given twice")
        found[name] = value
    return found


def _refuse_unknown_command(words: Sequence[str], parser: Parser) -> None:
    """Argparse would name every command there is, but not the one that was meant."""
    after_option = False
    for word in words:
        if after_option or word.startswith("-"):
            after_option = word == "--color" and not after_option
            continue
        if word not in COMMANDS:
            help = suggestion(word, list(COMMANDS)) or f"the commands are {', '.join(COMMANDS)}"
            if word.endswith(".opt"):
                help = f"name a command first, e.g. `declarative compile {word}`"
            raise UsageError(f"no command `{word}`", help, parser.format_usage())
        return


def _refuse_loose_sizes(arguments: argparse.Namespace, command: Parser) -> None:
    """``--dim n=10 m=5`` makes a file of the second."""
    for file in getattr(arguments, "files", []):
        if re.fullmatch(r"[A-Za-z_]\w*=\d+", file):
            raise UsageError(f"`{file}` is not a file", f"write `--dim {file}`", command.format_usage())
