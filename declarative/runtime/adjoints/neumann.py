"""The adjoint by a truncated Neumann series: a few products with dF/dw instead of a solve.

For a step a with |I - a J| < 1, J = dF/dw,

    J'^-1 w_bar  =  a sum_{j >= 0} (I - a J')^j w_bar,

cut after the terms j = 0..k. With k = 0 no product is taken: u = a w_bar, the Jacobian-free backward. Of a fixed point
z - g(z) = 0 with a = 1, the terms are g's own Jacobian applied j times. What is left out is known exactly,
w_bar - J'u = (I - a J')^(k+1) w_bar, and `Adjoint.residual` reports it.

References: Lorraine, Vicol and Duvenaud, Optimizing millions of hyperparameters by implicit differentiation, 2020;
Fung et al., JFB: Jacobian-free backpropagation for implicit networks, 2022; Luketina et al., Scalable gradient-based
tuning of continuous regularization hyperparameters, 2016.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from declarative.runtime import derivatives
from declarative.runtime.errors import AdjointWarning, InputError
from declarative.runtime.lanczos import Product, extreme_eigenvalues
from declarative.runtime.problem import Adjoint, Point, Problem
from declarative.runtime.smooth import LocalProblem, RootProblem
from declarative.runtime.transforms import values_are_hidden

MARGIN = 1.05
"""Lanczos finds the largest eigenvalue from below; the step is shorter by this factor."""


@dataclass(frozen=True)
class NeumannAdjoint(Adjoint):
    """Terms j = 0..``terms`` of the series, for `LocalProblem` without constraints and `RootProblem`.

    ``step``: a; None takes 1 for a fixed point and, for a local problem, the inverse of the largest eigenvalue of each
    instance's Hessian, which ten products estimate. A series that grows instead of converging is an `AdjointWarning`.
    Raises `InputError` for constraints, for settings out of range, and where a step must be given and is not.
    """

    terms: int = 10
    step: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.terms, bool) or not isinstance(self.terms, int) or self.terms < 0:
            raise InputError(f"NeumannAdjoint: terms is {self.terms!r}; expected a whole number, at least 0")
        if self.step is not None and self.step == 0:
            raise InputError("NeumannAdjoint: step is 0; expected a number such as 0.1")

    @property
    def differentiable(self) -> bool:
        return True

    def solve(self, problem: Problem, point: Point, cotangent: Point) -> Point:
        x, *empty = point
        product = _transposed_product(problem, x)
        step = self._step(problem, product, x)
        term = cotangent[0]
        total = term
        for _ in range(self.terms):
            term = term - step * product(term)
            total = total + term
        size, grown = (torch.linalg.vector_norm(t, dim=-1) for t in (cotangent[0], term))
        if not values_are_hidden(grown) and bool((grown > size).any()):
            warnings.warn(
                f"the Neumann series of {int((grown > size).sum())} of {grown.numel()} instances grows instead of "
                "converging: their gradient is wrong; the step is too long, or the matrix is not positive; "
                'write `layer.adjoint = "dense"` or "gmres"',
                AdjointWarning,
                stacklevel=2,
            )
        return (step * total, *empty)

    def _step(self, problem: Problem, product: Product, x: Tensor) -> Tensor | float:
        if self.step is not None:
            return self.step
        if isinstance(problem, RootProblem):
            if problem.fixed_point:
                return 1.0
            raise InputError(
                "a Neumann series needs equations of the form `z == g(z)`, or a step; write "
                '`layer.adjoint = NeumannAdjoint(terms=k, step=a)`, or choose the adjoint "dense" or "gmres"'
            )
        with torch.no_grad():
            smallest, largest = extreme_eigenvalues(product, x, 10)
            extent = torch.maximum(smallest.abs(), largest.abs())
        return torch.where(extent > 0, 1 / (MARGIN * torch.where(extent > 0, extent, 1)), 1)[..., None]


def _transposed_product(problem: Problem, x: Tensor) -> Product:
    if isinstance(problem, RootProblem):
        pull_back = torch.func.vjp(lambda y: problem.residual((y,))[0], x)[1]
        return lambda v: pull_back(v)[0]
    if not isinstance(problem, LocalProblem):
        raise TypeError(f"NeumannAdjoint is for a LocalProblem or a RootProblem, found a {type(problem).__name__}")
    if problem.constrained:
        raise InputError(
            "a Neumann series does not converge for a problem with constraints, whose matrix is indefinite; "
            'expected the adjoint "dense" or "gmres"'
        )
    return derivatives.hessian_product(problem.objective, x)
