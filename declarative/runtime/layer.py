"""The base of every emitted module: it binds arguments, solves, keeps the failure policy and returns the outputs.

An emitted class states its parameters and two maps: ``data``, from the parameters to a problem, and ``outputs``, from a
solution to what the caller gets. Both are plain torch and differentiated by autograd; what lies between them is the
solve, differentiated by the implicit function theorem. A closed form states ``solution`` instead of being solved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from declarative.runtime import implicit
from declarative.runtime.binding import Bound, Spec, bind, check_owned, check_promises, with_finite
from declarative.runtime.errors import InputError, SolveError
from declarative.runtime.parametrizations import Parametrization, initial_value, parametrization
from declarative.runtime.problem import Adjoint, Point, Problem, Solved, Solver
from declarative.runtime.sizes import evaluate
from declarative.runtime.status import Status

if TYPE_CHECKING:
    from declarative.runtime.diagnose import Report

POLICIES = ("raise", "nan")
SETTINGS = ("on_failure", "check_inputs", "tolerance", "max_iterations")


@dataclass(frozen=True)
class Solution:
    """Everything about one solve; every tensor has the batch dimensions first.

    ``outputs``: what ``forward`` returns. ``duals``: per constraint, by name. ``status``: int8 (*batch), a `Status`.
    ``iterations``: int32 (*batch). ``residuals``: (*batch), the largest entry of the KKT residual, relative.
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
    """A named constraint among the rows of the problem: ``kind`` is ``eq``, ``ineq`` or ``bounds``."""

    name: str
    kind: str
    sizes: tuple[str, ...] = ()


class Layer(nn.Module):
    """A layer defined by what it solves; see the module's docstring.

    Keywords of the constructor: sizes that no argument determines, values for learned and constant parameters, a module
    for each extern, and the settings ``on_failure`` (``"raise"`` or ``"nan"``), ``check_inputs``, ``tolerance`` and
    ``max_iterations``, which are attributes afterwards. Raises `InputError` for anything missing, unknown or misshapen.
    """

    parameters_of_call: ClassVar[tuple[Spec, ...]] = ()
    parameters_of_layer: ClassVar[tuple[Spec, ...]] = ()
    dimensions: ClassVar[Mapping[str, int | None]] = {}
    fixed_sizes: ClassVar[Mapping[str, int]] = {}
    declared: ClassVar[tuple[str, ...]] = ()
    externs: ClassVar[tuple[str, ...]] = ()
    blocks: ClassVar[tuple[Block, ...]] = ()
    settings: ClassVar[Mapping[str, Any]] = {}

    _like: Tensor
    on_failure: str
    check_inputs: bool
    tolerance: float | None
    max_iterations: int | None

    def __init__(self, **keywords: Any) -> None:
        super().__init__()
        self.solver: Solver | None = None
        self.adjoint: Adjoint | None = None
        self.register_buffer("_like", torch.zeros(()), persistent=False)
        if any(parametrization(s.attributes) for s in self.parameters_of_layer if s.binding == "learned"):
            self.parametrizations = nn.ModuleDict()
            self.unconstrained = nn.ParameterDict()
        given = {name: value for name, value in keywords.items() if value is not None}
        self._refuse_unknown(given)
        self.on_failure, self.check_inputs, self.tolerance, self.max_iterations = "raise", False, None, None
        for name, value in {**self.settings, **{k: v for k, v in given.items() if k in SETTINGS}}.items():
            setattr(self, name, value)
        self.sizes: dict[str, int] = self._sizes(given)
        for name in self.externs:
            if not isinstance(given.get(name), nn.Module):
                raise InputError(f"{self._name}: extern `{name}` needs a torch module: {self._name}({name}=module)")
            self.add_module(name, given[name])
        for spec in self.parameters_of_layer:
            self._own(spec, given.get(spec.name))

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

    def specialised(self, sizes: Mapping[str, int]) -> type[Layer]:
        """The class whose ``data``, ``outputs`` and ``duals`` serve these sizes."""
        return type(self)

    # What callers use.

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Solve; parameters by position in order of declaration, or by name. Leading dimensions are the batch.

        Raises `InputError` for arguments that do not fit and, with ``on_failure = "raise"``, `SolveError` where an
        instance has no solution; with ``"nan"`` such an instance returns NaN and contributes no gradient.
        """
        if self.on_failure not in POLICIES:
            raise InputError(f"{self._name}: on_failure is {self.on_failure!r}; expected one of {POLICIES}")
        bound = self.bind(*args, **kwargs)
        if self.on_failure == "nan":
            bound = with_finite(bound)
        try:
            solved = self._solved(bound, self.on_failure)
        except SolveError as error:
            raise SolveError(f"{self._name}: {error}{_culprits(bound)}") from None
        return self._outputs(bound, solved)

    def solve(self, *args: Any, **kwargs: Any) -> Solution:
        """Solve and return everything, per instance; no instance's failure raises."""
        bound = with_finite(self.bind(*args, **kwargs))
        solved = self._solved(bound, "keep")
        kind = self.specialised(bound.sizes)
        point = kind.point_type(*solved.point)
        residuals = solved.residual
        if self.solution is not None:  # nothing was iterated, so the residual is still to be measured
            problem: Any = kind.data(self, *bound.values)
            residuals = problem.relative_residual(point.kkt)
        return Solution(
            self._outputs(bound, solved),
            kind.duals(self, point, *bound.values),
            solved.status,
            solved.iterations,
            residuals,
            solved.point,
        )

    def diagnose(self, *args: Any, finite_differences: bool | float = False, **kwargs: Any) -> Report:
        """The conditions of the implicit function theorem at the solution, per instance; see `Report`.

        ``finite_differences``: also compare the backward with central differences in float64; a number is the step.
        """
        from declarative.runtime.diagnose import diagnose

        return diagnose(self, self.bind(*args, **kwargs), finite_differences=finite_differences)

    def bind(self, *args: Any, **kwargs: Any) -> Bound:
        """Check the arguments of a call and bring them to tensors; raises `InputError`."""
        like = next(self.parameters(), self._like)
        bound = bind(self._name, self.parameters_of_call, args, kwargs, self.sizes, like)
        check_owned(self._name, bound, {s.name: getattr(self, s.name) for s in self.parameters_of_layer})
        if self.check_inputs:
            check_promises(self._name, bound)
        return bound

    def extra_repr(self) -> str:
        sizes = [f"{name}={value}" for name, value in self.sizes.items()]
        return ", ".join([*(str(s) for s in self.parameters_of_call), *sizes])

    # How a call goes.

    def _solved(self, bound: Bound, on_failure: Any) -> Solved:
        if type(self).solution is not None:
            solved = self._closed_form(bound, on_failure)
        else:
            from declarative.runtime.defaults import default_adjoint, default_solver

            problem = self.specialised(bound.sizes).data(self, *bound.values)
            solver = self.solver or default_solver(problem, self.tolerance, self.max_iterations)
            solved = implicit.solve(problem, solver, self.adjoint or default_adjoint(problem), on_failure)
        if bound.finite is None:
            return solved
        finite = bound.finite.expand(solved.status.shape)
        point = tuple(torch.where(finite[..., None], p, torch.nan) for p in solved.point)
        status = torch.where(finite, solved.status, int(Status.NOT_FINITE)).to(torch.int8)
        residual = torch.where(finite, solved.residual, torch.nan)
        return Solved(point, status, solved.iterations, residual)

    def _closed_form(self, bound: Bound, on_failure: str) -> Solved:
        """Evaluate the closed form; it gives NaN where no solution exists, which is told here."""
        point = tuple(self.solution(*bound.values))
        finite = torch.isfinite(point[0]).all(-1)
        status = torch.where(finite, int(Status.SOLVED), int(Status.INFEASIBLE)).to(torch.int8)
        zeros = torch.zeros_like(status, dtype=point[0].dtype)
        solved = Solved(point, status, zeros.to(torch.int32), torch.where(finite, zeros, torch.nan))
        if on_failure == "raise" and not torch._C._functorch.is_batchedtensor(finite) and not bool(finite.all()):
            sound = with_finite(bound).finite
            if sound is not None:
                status = torch.where(sound.expand(status.shape), status, int(Status.NOT_FINITE)).to(torch.int8)
            raise SolveError(implicit.failure_message(Solved(point, status, solved.iterations, solved.residual)))
        return solved

    def _outputs(self, bound: Bound, solved: Solved) -> Any:
        kind = self.specialised(bound.sizes)
        outputs = kind.outputs(self, kind.point_type(*solved.point), *bound.values)
        if bound.dtype is None:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs.to(bound.dtype)
        return type(outputs)(*(o.to(bound.dtype) for o in outputs))

    # How a layer is made.

    @property
    def ranks(self) -> tuple[int, ...]:
        """Instance dimensions of every parameter, in order of declaration."""
        specs = {s.name: s.rank for s in (*self.parameters_of_call, *self.parameters_of_layer)}
        return tuple(specs[name] for name in self.declared or specs)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _refuse_unknown(self, given: Mapping[str, Any]) -> None:
        owned = [s.name for s in self.parameters_of_layer]
        known = [*owned, *self.dimensions, *self.externs, *SETTINGS]
        for name in given:
            if name in {s.name for s in self.parameters_of_call}:
                raise InputError(f"{self._name}: `{name}` is an argument of the call, not of the constructor")
            if name not in known:
                raise InputError(f"{self._name}: no keyword `{name}`; expected one of {', '.join(known)}")

    def _sizes(self, given: Mapping[str, Any]) -> dict[str, int]:
        """Sizes fixed before any call: by keyword, by the shapes of given values, or by default."""
        sizes = dict(self.fixed_sizes)
        for name in self.dimensions:
            if name in given and sizes.setdefault(name, int(given[name])) != int(given[name]):
                raise InputError(f"{self._name}: {name} is fixed at {sizes[name]} in this module, found {given[name]}")
        valued = [s for s in self.parameters_of_layer if s.rank and (s.name in given or s.value is not None)]
        if valued:
            tensors = {
                s.name: torch.as_tensor(given.get(s.name, s.value), dtype=torch.get_default_dtype()) for s in valued
            }
            sizes = bind(self._name, tuple(valued), (), tensors, sizes, torch.zeros(())).sizes
        for name, default in self.dimensions.items():
            if default is not None and name in self._needed_sizes():
                sizes.setdefault(name, default)
        for name, size in sizes.items():
            if size < 0:
                raise InputError(f"{self._name}: size `{name}` is {size}; expected at least 0")
        for spec in self.parameters_of_layer:
            unknown = [size for size in spec.sizes if evaluate(size, sizes) is None]
            if unknown:
                hint = ", ".join(f"{name}=..." for name in unknown)
                raise InputError(
                    f"{self._name}: the size of {spec.binding} `{spec}` is open; write {self._name}({hint}) "
                    f"or give a value, {spec.name}=tensor"
                )
        missing = [name for name in self.dimensions if name not in sizes and name in self._needed_sizes()]
        if missing:
            raise InputError(
                f"{self._name}: no argument determines {', '.join(missing)}; write {self._name}({missing[0]}=...)"
            )
        return sizes

    def _needed_sizes(self) -> set[str]:
        """Dimensions that the constructor must know, since no parameter of the call has them."""
        return set(self.dimensions) - {n for s in self.parameters_of_call for size in s.sizes for n in _names(size)}

    def _own(self, spec: Spec, value: Any) -> None:
        """Register a learned parameter or a constant."""
        shape = tuple(evaluate(size, self.sizes) or 0 for size in spec.sizes)
        value = spec.value if value is None else value
        if value is None and spec.binding == "constant":
            raise InputError(f"{self._name}: constant `{spec}` needs a value: {self._name}({spec.name}=tensor)")
        start = initial_value(shape, spec.attributes) if value is None else torch.as_tensor(value)
        if not start.is_floating_point():
            start = start.to(torch.get_default_dtype())
        if tuple(start.shape) != shape:
            raise InputError(f"{self._name}: `{spec}` has shape {tuple(start.shape)}; expected {shape}")
        if spec.binding == "constant":
            self.register_buffer(spec.name, start.detach().clone())
            return
        kept = parametrization(spec.attributes)
        if kept is None:
            self.register_parameter(spec.name, nn.Parameter(start.detach().clone()))
            return
        self.parametrizations[spec.name] = kept
        self.unconstrained[spec.name] = nn.Parameter(self._inverse(spec.name, start))

    def _inverse(self, name: str, value: Tensor) -> Tensor:
        """The unconstrained tensor behind a value of a learned parameter; raises `InputError` for a wrong one."""
        try:
            kept: Parametrization = self.parametrizations[name]  # type: ignore[assignment]
            return kept.right_inverse(value.detach()).clone()
        except InputError as error:
            raise InputError(f"{self._name}: learned `{name}`: {error}") from None

    def __getattr__(self, name: str) -> Any:
        """A learned parameter with attributes reads as its value, computed from the unconstrained tensor."""
        modules = self.__dict__.get("_modules", {})
        if "parametrizations" in modules and name in modules["parametrizations"]:
            return modules["parametrizations"][name](modules["unconstrained"][name])
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Setting a learned parameter sets what is behind it: ``layer.rho = 0.1``, outside of autograd."""
        modules = self.__dict__.get("_modules", {})
        if "parametrizations" in modules and name in modules["parametrizations"]:
            raw = modules["unconstrained"][name]
            inverse = self._inverse(name, torch.as_tensor(value, dtype=raw.dtype, device=raw.device))
            if inverse.shape != raw.shape:
                raise InputError(
                    f"{self._name}: `{name}` has shape {tuple(inverse.shape)}; expected {tuple(raw.shape)}"
                )
            with torch.no_grad():
                raw.copy_(inverse)
            return
        super().__setattr__(name, value)


def _names(size: str) -> list[str]:
    from declarative.runtime.sizes import parse

    return [name for name, _ in parse(size)[1]]


def _culprits(bound: Bound) -> str:
    """Which arguments were not finite, for the message of a failure."""
    lines = []
    for spec, value in zip(bound.specs, bound.values, strict=True):
        bad = (~torch.isfinite(value)).flatten(value.dim() - spec.rank).any(-1) if spec.rank else ~torch.isfinite(value)
        found = bad.nonzero().tolist()
        if found:
            at = found[0]
            where = f"instance {at[0] if len(at) == 1 else at}" if at else "every instance, which share it"
            lines.append(
                f"`{spec.name}` is not finite in {where}" + (f" and {len(found) - 1} more" if len(found) > 1 else "")
            )
    return "".join(f"\nnote: {line}" for line in lines)
