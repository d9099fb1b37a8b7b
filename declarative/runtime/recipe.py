"""Classes made while a process runs, which no import finds, and how another process makes them again.

Pickle stores a class as the name to import it by. A class of an emitted module that was only executed, or one that
specialises itself to sizes, is stored as its recipe instead: a function and its arguments, such as the emitted source.
So ``pickle``, ``torch.save`` of a whole model and ``multiprocessing`` carry layers made by ``declarative.compile``.
Classes of emitted files that are imported, and a user's subclasses, are stored by name as ever.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any

Recipe = tuple[Callable[..., type], tuple[Any, ...]]


class Made(type):
    """The metaclass of layers, for ``copyreg`` tells classes from other objects by their metaclass."""

    _recipe: Recipe
    """In the namespace of a class that has one, and not inherited: a function that makes the class, and arguments."""


def _reduced(made: Made) -> str | Recipe:
    recipe: Recipe | None = vars(made).get("_recipe")
    return made.__qualname__ if recipe is None else recipe


copyreg.pickle(Made, _reduced)  # type: ignore[arg-type]
