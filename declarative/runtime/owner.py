"""What a layer is made of: sizes fixed before any call, learned parameters, constants, externs and settings."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from declarative.runtime.binding import Bound, Spec, bind
from declarative.runtime.errors import InputError
from declarative.runtime.externs import checked
from declarative.runtime.living import number_of
from declarative.runtime.parametrizations import Parametrization, initial_value, parametrization
from declarative.runtime.problem import Adjoint, Solver
from declarative.runtime.recipe import Made
from declarative.runtime.sizes import evaluate, parse

if TYPE_CHECKING:
    from declarative.runtime.monitor import Monitor
    from declarative.runtime.warm_start import Starts

POLICIES = ("raise", "nan")
NEVER_NONE = ("on_failure", "check_inputs", "warm_start", "smooth")
SETTINGS = ("on_failure", "check_inputs", "tolerance", "max_iterations", "warm_start", "smooth")


class Owner(nn.Module, metaclass=Made):
    """The constructor of layers.

    Keywords: sizes that no argument determines, values for learned and constant parameters, a module for each extern,
    and the settings. Raises `InputError` for anything missing, unknown or misshapen.
    """

    parameters_of_call: ClassVar[tuple[Spec, ...]] = ()
    parameters_of_layer: ClassVar[tuple[Spec, ...]] = ()
    dimensions: ClassVar[Mapping[str, int | None]] = {}
    fixed_sizes: ClassVar[Mapping[str, int]] = {}
    declared: ClassVar[tuple[str, ...]] = ()
    externs: ClassVar[Mapping[str, str]] = {}
    """Each extern with its signature, ``"z[k] -> xhat[d]"``."""
    settings: ClassVar[Mapping[str, Any]] = {}

    _like: Tensor
    on_failure: str
    check_inputs: bool
    tolerance: float | None
    max_iterations: int | None

    def __init__(self, *values: Any, **keywords: Any) -> None:
        super().__init__()
        if values:
            raise InputError(f"{self._name}: the constructor takes keywords only, found {len(values)} without a name")
        self.solver: Solver | str | None = None
        self.adjoint: Adjoint | str | None = None
        self.register_buffer("_like", torch.zeros(()), persistent=False)
        if any(parametrization(s.attributes) for s in self.parameters_of_layer if s.binding == "learned"):
            self.parametrizations = nn.ModuleDict()
            self.unconstrained = nn.ParameterDict()
        self._calls: dict[Any, Bound] = {}
        self._monitors: tuple[weakref.ref[Monitor], ...] = ()
        self._starts: Starts | None = None  # made where `warm_start` is on
        self._number = number_of(self)
        given = {name: value for name, value in keywords.items() if value is not None or name in NEVER_NONE}
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

    @property
    def ranks(self) -> tuple[int, ...]:
        """Instance dimensions of every parameter, in order of declaration."""
        specs = {s.name: s.rank for s in (*self.parameters_of_call, *self.parameters_of_layer)}
        return tuple(specs[name] for name in self.declared or specs)

    def extern(self, name: str, *arguments: Tensor, returns: tuple[int, ...]) -> Tensor:
        """An extern applied; ``returns`` is the shape that the program declares for its result, per instance.

        Raises `InputError` where the module returns anything but a tensor (*batch, *returns).
        """
        return checked(f"{self._name}: extern `{name}`", self.externs[name], getattr(self, name), arguments, returns)

    def _owned(self) -> dict[str, Tensor]:
        """The tensors behind the layer's own parameters, by name: unconstrained where attributes are kept."""
        kept: Any = self.unconstrained if "unconstrained" in self._modules else {}
        names = (spec.name for spec in self.parameters_of_layer)
        return {name: kept[name] if name in kept else getattr(self, name) for name in names}

    def _tensors_by_name(self) -> dict[str, Tensor]:
        """The layer's own parameters as its problem takes them, and the externs' weights."""
        own = {spec.name: getattr(self, spec.name) for spec in self.parameters_of_layer}
        return own | {f"{e}.{n}": w for e in self.externs for n, w in getattr(self, e).named_parameters()}

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
            if name in given and (isinstance(given[name], bool) or not isinstance(given[name], Integral)):
                raise InputError(f"{self._name}: size `{name}` is {given[name]!r}; expected a whole number")
            if name in given and sizes.setdefault(name, int(given[name])) != int(given[name]):
                raise InputError(f"{self._name}: {name} is fixed at {sizes[name]} in this module, found {given[name]}")
        valued = [s for s in self.parameters_of_layer if s.rank and (s.name in given or s.value is not None)]
        if valued:
            tensors = {
                s.name: _numbers(self._name, s, given.get(s.name, s.value)).to(torch.get_default_dtype())
                for s in valued
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
        return set(self.dimensions) - {
            n for s in self.parameters_of_call for size in s.sizes for n, _ in parse(size).terms
        }

    def _own(self, spec: Spec, value: Any) -> None:
        """Register a learned parameter or a constant."""
        shape = tuple(evaluate(size, self.sizes) or 0 for size in spec.sizes)
        if value is not None and spec.value is not None:
            raise InputError(f"{self._name}: constant `{spec}` has its value in the program; change it there")
        value = spec.value if value is None else value
        if value is None and spec.binding == "constant":
            raise InputError(f"{self._name}: constant `{spec}` needs a value: {self._name}({spec.name}=tensor)")
        start = initial_value(shape, spec.attributes) if value is None else _numbers(self._name, spec, value)
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

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold: all but what belongs to this very layer."""
        return {**vars(self), "_monitors": (), "_starts": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._number = number_of(self)

    def __repr__(self) -> str:
        """The signature on one line, ``ElasticNet(A[m, n], b[m]; learned lasso)``, and the externs below it."""
        learned = [s.name for s in self.parameters_of_layer if s.binding == "learned"]
        parts = [self.extra_repr(), f"learned {', '.join(learned)}" if learned else ""]
        inside = "; ".join(part for part in parts if part)
        below = [f"  ({name}): " + repr(getattr(self, name)).replace("\n", "\n  ") for name in self.externs]
        return "\n".join([f"{self._name}({inside}{'' if below else ')'}", *below, *([")"] if below else [])])

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
            spec = next(s for s in self.parameters_of_layer if s.name == name)
            given = _numbers(self._name, spec, value).to(raw)
            shape = tuple(evaluate(size, self.sizes) or 0 for size in spec.sizes)
            if tuple(given.shape) != shape:
                raise InputError(f"{self._name}: `{name}` has shape {tuple(given.shape)}; expected {shape}")
            with torch.no_grad():
                raw.copy_(self._inverse(name, given))
            return
        super().__setattr__(name, setting(self._name, name, value) if name in SETTINGS else value)


def _numbers(layer: str, spec: Spec, value: Any) -> Tensor:
    """A value for what a layer owns; raises `InputError` for anything but numbers."""
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{layer}: {spec.binding} `{spec}` is {value!r}; expected a tensor or numbers") from None
    if bool(torch.isnan(tensor).any()):
        raise InputError(f"{layer}: {spec.binding} `{spec}` holds NaN; expected numbers")
    return tensor


def setting(layer: str, name: str, value: Any) -> Any:
    """The value of a setting; raises `InputError` for one that cannot be. None leaves a solver's own."""
    if value is None and name in SETTINGS and name not in NEVER_NONE:
        return None
    number = isinstance(value, Real) and not isinstance(value, bool)
    match name:
        case "on_failure":
            fits, expected = value in POLICIES, " or ".join(map(repr, POLICIES))
        case "check_inputs" | "warm_start":
            fits, expected = isinstance(value, bool), "True or False"
        case "tolerance":
            fits, expected = number and 0 < value < math.inf, "a positive number"
        case "smooth":
            fits, expected = number and 0 <= value < math.inf, "a number, at least 0"
        case _:
            fits, expected = number and 1 <= value < math.inf and value == int(value), "a whole number, at least 1"
    if not fits:
        raise InputError(f"{layer}: {name} is {value!r}; expected {expected}")
    return value
