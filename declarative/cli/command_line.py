"""From the arguments to a command's exit code: 0 done, 1 the program or the solve has an error, 2 wrong usage.

Nobody who uses the command line sees a traceback, unless asked for with ``--traceback`` or ``DECLARATIVE_TRACEBACK=1``.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise

from declarative.cli.arguments import UsageError, parse
from declarative.cli.terminal import Terminal
from declarative.diagnostics.diagnostic import Diagnostic, DiagnosticError

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; ``argv`` are the words after the program's name. Returns the exit code and never raises."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has left. What is still buffered must not fail again when the interpreter exits.
        _discard_stdout()
        return FAILED
    except Exception as error:
        return _internal(error, words)


def _run(words: list[str]) -> int:
    try:
        arguments = parse(words)
    except UsageError as error:
        Terminal.open(_color(words)).usage(error)
        return WRONG_USAGE
    except SystemExit as leaving:  # argparse has printed the help or the version
        return leaving.code if isinstance(leaving.code, int) else DONE
    terminal = Terminal.open(arguments.color)
    try:
        command = import_module(f"declarative.cli.{arguments.command}")
        code: int = command.run(arguments, terminal)
    except UsageError as error:
        terminal.usage(error)
        return WRONG_USAGE
    except DiagnosticError as error:
        terminal.report(error.diagnostics)
        return FAILED
    except Exception as error:
        fault = _fault_of_memory(error) or _fault_of_extern(error)
        if fault is None or "--traceback" in words:
            raise
        terminal.report([fault])
        return FAILED
    sys.stdout.flush()
    return code


def _fault_of_memory(error: Exception) -> Diagnostic | None:
    """An allocation that failed, in Python or in torch, which raises a `RuntimeError`; None for any other exception."""
    text = str(error)
    if not isinstance(error, MemoryError) and not ("llocat" in text and "memory" in text):
        return None
    asked = re.search(r"(\d{7,}) bytes", text)
    size = f": {int(asked[1]) / 2**30:.3g} GiB were asked for" if asked else ""
    return Diagnostic("E707", f"there is not enough memory{size}")


def _fault_of_extern(error: Exception) -> Diagnostic | None:
    """What a user's torch module raised while a layer ran it; None for any other exception."""
    if not getattr(error, "__notes__", ()):
        return None
    from declarative.runtime.externs import raised_by_extern

    note = raised_by_extern(error)
    if note is None:
        return None
    text = " ".join(str(error).split())
    message = note.partition(": ")[2]
    return Diagnostic("E706", message, notes=(f"{type(error).__name__}: {text}",) if text else ())


def _color(words: list[str]) -> str:
    """The colour asked for in words that do not parse."""
    choices = [w.removeprefix("--color=") for w in words if w.startswith("--color=")]
    choices += [after for word, after in pairwise(words) if word == "--color"]
    return choices[-1] if choices and choices[-1] in ("always", "never") else "auto"


def _discard_stdout() -> None:
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def _internal(error: Exception, words: list[str]) -> int:
    wanted = "--traceback" in words or os.environ.get("DECLARATIVE_TRACEBACK", "0") not in ("", "0")
    if wanted:
        traceback.print_exc()
    text = " ".join(str(error).split())
    shortened = text if len(text) <= 300 else f"{text[:300]}..."
    print(f"internal error: {type(error).__name__}{f': {shortened}' if text else ''}", file=sys.stderr)
    advice = "please report it" if wanted else "please report it with what `--traceback` prints"
    print(f"note: this is a fault of declarative, not of your program; {advice}", file=sys.stderr)
    return FAILED
