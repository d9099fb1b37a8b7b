"""Searches that stop when they have converged, as one node each of a compiled graph.

A closed form often rests on a root that is sought by iteration and not differentiated: a last step of Newton's method
carries the derivative. How many iterations a search takes depends on the numbers, which a compiler of torch does not
see; traced, it would be unrolled to its limit. Under a compiler such a search is therefore the operator
``declarative::search``; everywhere else it is the plain function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

Search = Callable[..., tuple[Tensor, ...]]

_searches: dict[str, tuple[Search, Search]] = {}


def search(like: Search) -> Callable[[Search], Search]:
    """A decorator for functions of tensors, without gradient, that return new tensors.

    ``like`` takes the same arguments and returns tensors of the same shapes and dtypes, without a loop.
    """

    def decorate(function: Search) -> Search:
        name = f"{function.__module__}.{function.__qualname__}"
        _searches[name] = function, like

        @functools.wraps(function)
        def sought(*given: Tensor) -> tuple[Tensor, ...]:
            if torch.compiler.is_compiling():
                return tuple(torch.ops.declarative.search(list(given), name))
            return function(*given)

        return sought

    return decorate


@torch.library.custom_op("declarative::search", mutates_args=())
def _search(given: list[Tensor], name: str) -> list[Tensor]:
    return list(_searches[name][0](*given))


@_search.register_fake
def _(given: list[Tensor], name: str) -> list[Tensor]:
    return list(_searches[name][1](*given))
