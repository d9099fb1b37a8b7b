"""The base of every emitted module: it binds arguments, solves, keeps the failure policy and returns the outputs.

An emitted class states its parameters and two maps: ``data``, from the parameters to a problem, and ``outputs``, from a
solution to what the caller gets. Both are plain torch and differentiated by autograd; what lies between them is the
solve, differentiated by the implicit function theorem. A closed form states ``solution`` instead of being solved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from declarative.runtime import graph, implicit
from declarative.runtime.autocast import autocast_is_on, called_without_autocast
from declarative.runtime.binding import (
    Bound,
    all_finite,
    bind,
    check_owned,
    check_promises,
    culprits,
    free_of_nan,
    signature,
    with_donor,
    with_finite,
)
from declarative.runtime.errors import InputError, SolveError
from declarative.runtime.owner import POLICIES, SETTINGS, Owner, setting
from declarative.runtime.points import PrimalPoint
from declarative.runtime.problem import Point, Problem, Solved
from declarative.runtime.status import Status
from declarative.runtime.transforms import values_are_hidden
from declarative.runtime.verification import explained, verified, violation

if TYPE_CHECKING:
    from declarative.runtime.affine_map import AffineMap
    from declarative.runtime.diagnose import Report
    from declarative.runtime.monitor import Monitor

__all__ = ["POLICIES", "SETTINGS", "Block", "Layer", "Solution"]

INTERIOR = {"QPPoint": "a quadratic program", "ConePoint": "a cone program"}
"""What an interior point method solves, by the name of the points."""

CALLS_REMEMBERED = 64
"""Shapes of arguments that a layer remembers as fitting; a call of the same shapes is not checked again."""


@dataclass(frozen=True)
class Solution:
    """Everything about one solve; every tensor has the batch dimensions first.

    ``outputs``: what ``forward`` returns. ``duals``: per constraint, by name. ``status``: int8 (*batch), a `Status`.
    ``iterations``: int32 (*batch). ``residuals``: (*batch), the largest entry of the KKT residual, relative. The answer
    of a closed form is ``inaccurate`` where its residual is more than rounding explains.
    """

    outputs: Any
    duals: Mapping[str, Tensor]
    status: Tensor
    iterations: Tensor
    residuals: Tensor
    point: Point

    @property
    def solved(self) -> Tensor:
        """Mask of the instances that were solved; (*batch)."""
        return implicit.usable(self.status)


@dataclass(frozen=True)
class Block:
    """A named constraint among the rows of the problem: ``kind`` is ``eq``, ``ineq``, ``bounds`` or ``cone``.

    Of a cone program also its variables, in the order of `Layer.variables`: ``variable``.
    """

    name: str
    kind: str
    sizes: tuple[str, ...] = ()


class Layer(Owner):
    """A layer defined by what it solves; see the module's docstring.

    Keywords of the constructor: sizes that no argument determines, values for learned and constant parameters, a module
    for each extern, and the settings ``on_failure`` (``"raise"`` or ``"nan"``), ``check_inputs``, ``tolerance``,
    ``max_iterations``, ``warm_start`` and ``smooth``, which are attributes afterwards. Raises `InputError`
    for anything missing, unknown or misshapen.
    """

    blocks: ClassVar[tuple[Block, ...]] = ()

    # What an emitted class defines.

    def data(self, *parameters: Tensor) -> Problem:
        """The problem of one call, as a differentiable function of the parameters."""
        raise NotImplementedError

    def outputs(self, point: Any, *parameters: Tensor) -> Any:
        """What the layer returns, from a solution."""
        raise NotImplementedError

    def duals(self, point: Any, *parameters: Tensor) -> dict[str, Tensor]:
        """The multiplier of each constraint, by name."""
        return {}

    point_type: ClassVar[Any] = None
    """The NamedTuple that names the parts of a point."""

    solution: ClassVar[Any] = None
    """A closed form, from the parameters to the point, where the structure has one."""

    primal: ClassVar[Any] = None
    """The same for the variables alone, where the outputs read nothing else and that is cheaper; and a smaller tensor
    that is finite only where they and all that they are computed from are."""

    auxiliary: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Of a quadratic program, the shapes of the variables at the end of x that the compiler has added."""

    variables: ClassVar[tuple[AffineMap, ...]] = ()
    """Of a cone program, the program's own variables as maps of x."""

    _gradient: str = "implicit"
    _warm_start: bool = False
    _smooth: float = 0.0

    def specialised(self, sizes: Mapping[str, int]) -> type[Layer]:
        """The class whose ``data``, ``outputs`` and ``duals`` serve these sizes."""
        return type(self)

    # What callers use.

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Solve; parameters by position in order of declaration, or by name. Leading dimensions are the batch.

        Raises `InputError` for arguments that do not fit and, with ``on_failure = "raise"``, `SolveError` where an
        instance has no solution; with ``"nan"`` such an instance returns NaN and contributes no gradient.
        """
        if autocast_is_on():
            return called_without_autocast(Layer.forward, self, args, kwargs)
        bound = self.bind(*args, **kwargs)
        if self.on_failure == "nan":
            bound, solved = self._tolerant(bound, "nan")
            solved = self._watched(bound, solved)
            return self._outputs(bound, solved.point)
        if self.primal is not None and bound.dtype is None:
            x, sign = self.primal(*bound.values)
            if x.shape[:-1] == bound.batch and x.shape[-1] and _surely_sound((sign,), ()):
                self._closed(bound)
                return self.outputs(PrimalPoint(x), *bound.values)
        if self.solution is not None:
            point = self._closed_form_point(bound)
            if point[0].shape[-1] and _surely_sound(point, bound.values):
                self._closed(bound)
                return self._outputs(bound, point)
        try:
            solved = self._solved(bound, "raise")
        except SolveError as error:
            if error.solved is not None:
                self._watched(bound, error.solved)
            raise SolveError(f"{self._name}: {error}{culprits(bound, self._tensors_by_name())}", error.solved) from None
        return self._outputs(bound, self._watched(bound, solved).point)

    def solve(self, *args: Any, **kwargs: Any) -> Solution:
        """Solve and return everything, per instance; no instance's failure raises."""
        if autocast_is_on():
            solution: Solution = called_without_autocast(Layer.solve, self, args, kwargs)
            return solution
        bound, solved = self._tolerant(self.bind(*args, **kwargs), "keep")
        if self.solution is not None:
            solved = verified(self, bound, solved)
        solved = self._watched(bound, solved)
        kind = self.specialised(bound.sizes)
        point = kind.point_type(*solved.point)
        return Solution(
            self._outputs(bound, solved.point),
            kind.duals(self, point, *bound.values),
            solved.status,
            solved.iterations,
            solved.residual,
            solved.point,
        )

    def diagnose(self, *args: Any, finite_differences: bool | float = False, **kwargs: Any) -> Report:
        """The conditions of the implicit function theorem at the solution, per instance; see `Report`.

        ``finite_differences``: also compare the backward with central differences in float64; a number is the step.
        """
        from declarative.runtime.diagnose import diagnose

        if autocast_is_on():
            kwargs["finite_differences"] = finite_differences
            report: Report = called_without_autocast(Layer.diagnose, self, args, kwargs)
            return report
        return diagnose(self, self.bind(*args, **kwargs), finite_differences=finite_differences)

    def monitor(self, sample: float = 0.01) -> Monitor:
        """Count from here on what becomes of instances, cheaply; see `Monitor`.

        ``sample``: the share of the time, from 0 to 1, that may go into measuring margins of complementarity and
        residuals of closed forms; 1 measures them at every call. Raises `InputError` for another value.
        """
        from declarative.runtime.monitor import Monitor

        return Monitor(self, sample)

    @property
    def gradient(self) -> str:
        """What is differentiated: ``"implicit"``, the solution; ``"unrolled"`` or ``"truncated:k"``, all or the last k
        of the solver's iterations. Setting raises `InputError` for another text, and where nothing is iterated."""
        return self._gradient

    @gradient.setter
    def gradient(self, kind: str) -> None:
        from declarative.runtime.gradients import refusal, unrolled_steps

        if unrolled_steps(kind) is not None and self.solution is not None:
            raise InputError(
                f"{self._name}: {refusal(kind, 'this layer is a closed form, which autograd differentiates')}"
            )
        self._gradient = kind

    @property
    def warm_start(self) -> bool:
        """Whether a solve begins where the last one of the same shapes ended; see `declarative.runtime.warm_start`.
        Setting raises `InputError` for anything but True and False, and where nothing is iterated."""
        return self._warm_start

    @warm_start.setter
    def warm_start(self, value: bool) -> None:
        if setting(self._name, "warm_start", value) and self.solution is not None:
            raise InputError(f"{self._name}: warm_start is True, but this layer is a closed form; expected False")
        if value:
            self._refuse_warm_start()
        self._warm_start, self._starts = value, None

    def _refuse_warm_start(self) -> None:
        """Raise `InputError` where an interior point method solves; what is not known before the call, it refuses."""
        from declarative.runtime.warm_start import refused

        kind = INTERIOR.get(getattr(self.point_type, "__name__", ""))
        if hasattr(self, "objective") and any(hasattr(self, rows) for rows in ("equalities", "inequalities")):
            kind = "a local problem with constraints"
        if kind is not None:
            raise InputError(refused(self._name, kind))

    @property
    def smooth(self) -> float:
        """mu, where mu/2 |x|^2 is added to the objective of a linear or quadratic program or a cone program, 0 for
        none; see `declarative.runtime.smoothing`. Setting raises `InputError` for anything but a number from 0 on, and
        for a closed form; other problems refuse it in the call."""
        return self._smooth

    @smooth.setter
    def smooth(self, value: float) -> None:
        value = setting(self._name, "smooth", value)
        if value and self.solution is not None:
            raise InputError(
                f"{self._name}: smooth is {value!r}, but this layer is a closed form, whose objective is curved "
                "already; expected 0, or the term in the objective"
            )
        self._smooth = float(value)

    def bind(self, *args: Any, **kwargs: Any) -> Bound:
        """Check the arguments of a call and bring them to tensors; raises `InputError`."""
        owned = self._owned() if self.parameters_of_layer else {}
        key = None if kwargs or torch.compiler.is_compiling() else signature(args, owned)
        before = self._calls.get(key)
        if before is not None:
            bound = before.with_values(args)
        else:
            like = next(self.parameters(), self._like)
            bound = bind(self._name, self.parameters_of_call, args, kwargs, self.sizes, like)
            check_owned(self._name, bound, owned)
            if key is not None and bound.dtype is None:
                if len(self._calls) >= CALLS_REMEMBERED:
                    self._calls.clear()
                self._calls[key] = bound.with_values(())
        if self.check_inputs:
            check_promises(self._name, bound)
        return bound

    def extra_repr(self) -> str:
        sizes = [f"{name}={value}" for name, value in self.sizes.items()]
        return ", ".join([*(str(s) for s in self.parameters_of_call), *sizes])

    # How a call goes.

    def _tolerant(self, bound: Bound, on_failure: Any) -> tuple[Bound, Solved]:
        """Solve without raising; an instance without finite data or closed form gets the data of another."""
        bound = with_finite(bound)
        solved = self._solved(bound, on_failure)
        if values_are_hidden(solved.status):
            return bound, solved
        broken = solved.status == Status.NOT_FINITE if self.solution is None else ~implicit.usable(solved.status)
        if bool((broken & bound.sound.to(broken.device)).any()):
            verdict = torch.where(broken, solved.status, int(Status.SOLVED))
            bound = with_donor(bound, verdict.expand(bound.batch))
            solved = self._solved(bound, on_failure)
        return bound, solved

    def _problem(self, bound: Bound) -> Problem:
        """The problem of one call."""
        kind = self.specialised(bound.sizes)
        problem = kind.data(self, *bound.values)
        if not self.smooth:
            return problem
        from declarative.runtime.smoothing import smoothed

        return smoothed(kind, self._name, problem, bound.sizes, self.smooth)

    def _watched(self, bound: Bound, solved: Solved) -> Solved:
        """The same solution, after the monitors were told of it; a compiled graph tells them when it runs."""
        if not self._monitors:
            return solved
        if torch.compiler.is_compiling():
            return graph.watched(self, solved)
        from declarative.runtime.monitor import watched

        watched(self, bound, solved)
        return solved

    def _closed(self, bound: Bound) -> None:
        """Tell the monitors that a closed form has solved every instance."""
        if self._monitors:
            from declarative.runtime.monitor import watched

            watched(self, bound, None)

    def _solved(self, bound: Bound, on_failure: Any) -> Solved:
        if self.solution is not None:
            solved = self._closed_form(bound, on_failure)
        elif torch.compiler.is_compiling():
            solved = graph.solve(self, self._problem(bound), on_failure)
        else:
            from declarative.runtime import defaults, gradients

            problem = self._problem(bound)
            solver = defaults.chosen_solver(self.solver, problem, self.tolerance, self.max_iterations)
            adjoint = defaults.chosen_adjoint(self.adjoint, problem)
            if self.warm_start:
                from declarative.runtime.warm_start import starts_of

                starts = starts_of(self, problem, solver)
                solver = starts.warmed(solver, problem, bound, self.training)
                solved = self._judged(bound, gradients.solve(problem, solver, adjoint, on_failure, self.gradient))
                starts.keep(problem, bound, self.training, solved)
                return solved
            solved = gradients.solve(problem, solver, adjoint, on_failure, self.gradient)
        return self._judged(bound, solved)

    def _judged(self, bound: Bound, solved: Solved) -> Solved:
        """The solution with NaN and their verdict for the instances that were given the data of another."""
        if bound.verdict is None:
            return solved
        sound, verdict = bound.sound.expand(solved.status.shape), bound.verdict.expand(solved.status.shape)
        point = tuple(torch.where(sound[..., None], p, torch.nan) for p in solved.point)
        residual = torch.where(sound, solved.residual, torch.nan)
        return Solved(point, torch.where(sound, solved.status, verdict), solved.iterations, residual)

    def _closed_form(self, bound: Bound, on_failure: str) -> Solved:
        """Evaluate the closed form; it gives NaN where no solution exists, which is told here.

        A number that is not one may drop out of the formula, and the answer is not returned all the same.
        """
        point = self._closed_form_point(bound)
        finite = torch.isfinite(point[0]).all(-1)
        for part in point[1:]:
            finite = finite & ~part.isnan().any(-1)
        if not point[0].shape[-1]:  # what holds for no entries at all no entry can mend
            finite = finite & explained(violation(self, bound, point))
        if bound.verdict is None:
            finite = finite & free_of_nan(bound)
            if values_are_hidden(finite):
                point = tuple(torch.where(finite[..., None], p, torch.nan) for p in point)
        failure = torch.where(all_finite(bound).expand(finite.shape), int(Status.INFEASIBLE), int(Status.NOT_FINITE))
        status = torch.where(finite, int(Status.SOLVED), failure).to(torch.int8)
        zeros = torch.zeros_like(status, dtype=point[0].dtype)
        solved = Solved(point, status, zeros.to(torch.int32), torch.where(finite, zeros, torch.nan))
        if on_failure == "raise" and not values_are_hidden(finite) and not bool(finite.all()):
            raise SolveError(implicit.failure_message(solved), solved)
        return solved

    def _closed_form_point(self, bound: Bound) -> Point:
        """The closed form at every instance: a parameter may cancel out of it, the point is of the whole batch."""
        point: Point = self.solution(*bound.values)
        return tuple(p if p.shape[:-1] == bound.batch else p.expand(*bound.batch, p.shape[-1]) for p in point)

    def _outputs(self, bound: Bound, point: Point) -> Any:
        kind = self.specialised(bound.sizes)
        outputs = kind.outputs(self, kind.point_type(*point), *bound.values)
        if bound.dtype is not None:
            single = isinstance(outputs, Tensor)
            outputs = outputs.to(bound.dtype) if single else type(outputs)(*(o.to(bound.dtype) for o in outputs))
        # An exported graph may run where the layer's named tuple is not known.
        return tuple(outputs) if torch.compiler.is_exporting() and not isinstance(outputs, Tensor) else outputs


def _surely_sound(point: Point, values: tuple[Tensor, ...]) -> bool:
    """Whether no number of the arguments or of the point is NaN, and the point's first part is finite: by their sums as
    a rule. False also where values are hidden."""
    tensors = (*point, *values)
    if torch.compiler.is_compiling() or any(map(_is_wrapped, tensors)):
        return False
    total = 0.0
    for tensor in tensors:
        total += tensor.detach().sum().item()
    if math.isfinite(total):
        return True
    return bool(point[0].isfinite().all()) and not any(bool(t.isnan().any()) for t in tensors)


_is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
