"""From the arguments of a call to tensors whose shapes, dtype and device agree, and the sizes that they determine."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from declarative.runtime.errors import InputError
from declarative.runtime.sizes import Size, parse
from declarative.runtime.status import Status
from declarative.runtime.transforms import values_are_hidden

LOW_PRECISION = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Spec:
    """A declared parameter: its name, its symbolic sizes and attributes, as emitted modules write them."""

    name: str
    sizes: tuple[str, ...] = ()
    attributes: frozenset[str] = frozenset()
    binding: str = "call"
    value: Any = None
    doc: str = ""
    parsed: tuple[Size, ...] = field(default=(), repr=False)
    """``sizes``, read once."""

    def __init__(
        self,
        name: str,
        *sizes: str | int,
        attributes: str = "",
        binding: str = "call",
        value: Any = None,
        doc: str = "",
    ) -> None:
        for key, given in (
            ("name", name),
            ("sizes", tuple(str(s) for s in sizes)),
            ("attributes", frozenset(attributes.split())),
            ("binding", binding),
            ("value", value),
            ("doc", doc),
            ("parsed", tuple(parse(str(s)) for s in sizes)),
        ):
            object.__setattr__(self, key, given)

    @property
    def rank(self) -> int:
        return len(self.sizes)

    def __str__(self) -> str:
        return f"{self.name}[{', '.join(self.sizes)}]" if self.sizes else self.name

    @property
    def shape_text(self) -> str:
        """``(*batch, m, n)``."""
        return f"({', '.join(('*batch', *self.sizes))})"


@dataclass(frozen=True)
class Bound:
    """The arguments of one call, in the order of their specs."""

    specs: tuple[Spec, ...]
    values: tuple[Tensor, ...]
    sizes: dict[str, int]
    batch: torch.Size
    dtype: torch.dtype | None
    """The dtype to return, where it is not the one that is computed in; else None."""
    verdict: Tensor | None = field(default=None)
    """int8 (*batch), the `Status` of instances that were given the data of another; None where that was not asked."""

    @property
    def sound(self) -> Tensor:
        """Mask of the instances with data of their own; (*batch)."""
        if self.verdict is None:
            return torch.ones(self.batch, dtype=torch.bool)
        return self.verdict == int(Status.SOLVED)

    def with_values(self, values: tuple[Tensor, ...]) -> Bound:
        """The same call of other tensors, of the same shapes."""
        return Bound(self.specs, values, self.sizes, self.batch, self.dtype)

    def named(self) -> Mapping[str, Tensor]:
        return {spec.name: value for spec, value in zip(self.specs, self.values, strict=True)}


def signature(args: tuple[Any, ...], owned: Mapping[str, Tensor]) -> tuple[Any, ...] | None:
    """What decides whether arguments by position fit, and which sizes they give; None where one is no tensor."""
    if not all(isinstance(t, Tensor) for t in args):
        return None
    return (*((t.shape, t.dtype, t.device) for t in args), *((t.dtype, t.device) for t in owned.values()))


def bind(
    layer: str,
    specs: tuple[Spec, ...],
    args: Sequence[Any],
    keywords: Mapping[str, Any],
    known: Mapping[str, int],
    like: Tensor,
) -> Bound:
    """Match arguments to specs by position and keyword; raises `InputError` that names the one that does not fit.

    ``known`` are the sizes fixed before the call; ``like`` gives dtype and device where no argument is a tensor.
    """
    given = _matched(layer, specs, args, keywords)
    tensors = _as_tensors(layer, specs, given, like)
    sizes = dict(known)
    _solve_sizes(layer, specs, tensors, sizes)
    leads = [t.shape[: t.dim() - s.rank] for s, t in zip(specs, tensors, strict=True)]
    try:
        batch = torch.Size(torch.broadcast_shapes(*leads))  # type: ignore[no-untyped-call]
    except RuntimeError:
        found = ", ".join(f"`{s.name}` {_numbers(lead)}" for s, lead in zip(specs, leads, strict=True) if lead)
        raise InputError(f"{layer}: the batch dimensions do not broadcast together: {found}") from None
    if not torch.compiler.is_compiling():
        _warn_of_pairs(layer, specs, leads, batch)
    dtype = tensors[0].dtype if tensors and tensors[0].dtype in LOW_PRECISION else None
    if dtype is not None:
        tensors = [t.float() for t in tensors]
    return Bound(specs, tuple(tensors), sizes, batch, dtype)


def _warn_of_pairs(layer: str, specs: tuple[Spec, ...], leads: Sequence[torch.Size], batch: torch.Size) -> None:
    """Warn where a column (B, 1) meets a batch (B,), which gives every pair of instances, B x B of them."""
    for column, lead in zip(specs, leads, strict=True):
        if len(lead) < 2 or lead[-1] != 1 or lead[-2] == 1:
            continue
        for other, own in zip(specs, leads, strict=True):
            if own == lead[:-1] and batch.numel() > lead.numel():
                text = (
                    f"{layer}: the batches {tuple(lead)} of `{column.name}` and {tuple(own)} of `{other.name}` "
                    f"make all pairs of instances, {tuple(batch)}. For a value per instance write "
                    f"{column.name}.squeeze({-1 - column.rank}); where all pairs are meant, {other.name}[None]"
                )
                warnings.warn(text, UserWarning, stacklevel=4)
                return


def _matched(layer: str, specs: tuple[Spec, ...], args: Sequence[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    names = [s.name for s in specs]
    signature = f"{layer}({', '.join(map(str, specs))})"
    if len(args) > len(specs):
        raise InputError(f"{layer}: {len(args)} arguments given, {len(specs)} expected: {signature}")
    given = dict(zip(names, args, strict=False))
    for name, value in keywords.items():
        if name not in names:
            raise InputError(f"{layer}: no parameter `{name}`: {signature}")
        if name in given:
            raise InputError(f"{layer}: parameter `{name}` is given twice, by position and by keyword")
        given[name] = value
    missing = [s for s in specs if s.name not in given]
    if missing:
        wanted = ", ".join(f"`{s.name}` of shape {s.shape_text}" for s in missing)
        raise InputError(f"{layer}: missing {wanted}: {signature}")
    return given


def _as_tensors(layer: str, specs: tuple[Spec, ...], given: Mapping[str, Any], like: Tensor) -> list[Tensor]:
    first = next((given[s.name] for s in specs if isinstance(given[s.name], Tensor)), like)
    if not first.is_floating_point():
        first = like
    tensors = []
    for spec in specs:
        value = given[spec.name]
        if not isinstance(value, Tensor):
            try:
                value = torch.as_tensor(value, dtype=first.dtype, device=first.device)
            except (TypeError, ValueError, RuntimeError):
                kind = type(value).__name__
                raise InputError(f"{layer}: `{spec.name}` is a {kind}; expected a tensor {spec.shape_text}") from None
        if value.layout != torch.strided:
            raise InputError(f"{layer}: `{spec.name}` is sparse; expected a dense tensor: {spec.name}.to_dense()")
        if value.is_meta:
            raise InputError(
                f"{layer}: `{spec.name}` is on the meta device, without numbers; expected a tensor of them"
            )
        if not value.is_floating_point():
            raise InputError(
                f"{layer}: `{spec.name}` is {value.dtype}; expected a real floating-point tensor: {spec.name}.float()"
            )
        if value.dtype != first.dtype or value.device != first.device:
            anchor = next(s.name for s in specs if given[s.name] is first) if first is not like else "the layer"
            raise InputError(
                f"{layer}: `{spec.name}` is {value.dtype} on {value.device}, but `{anchor}` is {first.dtype} on "
                f"{first.device}; bring them together, e.g. {spec.name}.to({anchor if first is not like else 'x'})"
            )
        tensors.append(value)
    return tensors


def _solve_sizes(layer: str, specs: tuple[Spec, ...], tensors: Sequence[Tensor], sizes: dict[str, int]) -> None:
    """Fill ``sizes`` from the shapes, simplest sizes first, then compare every shape."""
    source: dict[str, str] = {}
    for spec, tensor in zip(specs, tensors, strict=True):
        if tensor.dim() < spec.rank:
            raise InputError(
                f"{layer}: `{spec.name}` has shape {_numbers(tensor.shape)}; expected {spec.shape_text}, "
                f"at least {spec.rank} dimension{'s' if spec.rank > 1 else ''}"
            )
    known = -1
    while known < len(sizes):  # a size may await a dimension that a later parameter determines
        known = len(sizes)
        for spec, tensor in zip(specs, tensors, strict=True):
            for size, found in zip(spec.parsed, tensor.shape[tensor.dim() - spec.rank :], strict=True):
                solved = size.solve_for(found, sizes)
                if solved is not None:
                    sizes[solved[0]] = solved[1]
                    source[solved[0]] = spec.name
    for spec, tensor in zip(specs, tensors, strict=True):
        found_shape = tuple(tensor.shape[tensor.dim() - spec.rank :])
        expected = tuple(size.evaluate(sizes) for size in spec.parsed)
        if found_shape != expected:
            determined = ", ".join(
                f"{name} = {operator.index(value)}" + (f" from `{source[name]}`" if name in source else "")
                for name, value in sizes.items()
                if any(name in size for size in spec.sizes)
            )
            entries = ", ".join("?" if e is None else str(operator.index(e)) for e in expected)
            wanted = f"({entries}{',' if len(expected) == 1 else ''})"
            raise InputError(
                f"{layer}: `{spec.name}` has shape {_numbers(tensor.shape)}; expected {spec.shape_text}"
                + (f" = (*batch, {wanted[1:]}" if spec.rank else "")
                + (f", where {determined}" if determined else "")
            )


def _numbers(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape for a message: while a graph is traced its sizes may be symbols, which no message can print."""
    return tuple(map(operator.index, shape))


def check_owned(layer: str, bound: Bound, owned: Mapping[str, Tensor]) -> None:
    """Raise `InputError` where the layer's own tensors are not of the arguments' dtype and on their device."""
    for spec, value in zip(bound.specs[:1], bound.values[:1], strict=True):
        for name, tensor in owned.items():
            if tensor.dtype == value.dtype and tensor.device == value.device:
                continue
            low = f", computed in {value.dtype}" if bound.dtype is not None else ""
            raise InputError(
                f"{layer}: `{spec.name}` is {bound.dtype or value.dtype} on {value.device}{low}, but the layer's "
                f"`{name}` is {tensor.dtype} on {tensor.device}; bring them together, "
                f"e.g. layer.to({str(value.device)!r}, {value.dtype})"
            )


def all_finite(bound: Bound) -> Tensor:
    """Mask of the instances whose arguments are all finite; (*batch)."""
    return _everywhere(bound, torch.isfinite)


def free_of_nan(bound: Bound) -> Tensor:
    """Mask of the instances whose arguments are all numbers, infinities among them; (*batch)."""
    return _everywhere(bound, lambda value: ~torch.isnan(value))


def _everywhere(bound: Bound, judge: Callable[[Tensor], Tensor]) -> Tensor:
    kept = torch.ones((), dtype=torch.bool)
    for spec, value in zip(bound.specs, bound.values, strict=True):
        good = judge(value)
        kept = kept.to(value.device) & (good.flatten(value.dim() - spec.rank).all(-1) if spec.rank else good)
    return kept.expand(bound.batch)


def with_finite(bound: Bound) -> Bound:
    """Instances with a NaN get the data of a sound instance, and the verdict that says so; see `with_donor`.

    An infinity is left to the problem: in a bound it is no constraint, in a masked score no probability.
    """
    finite = free_of_nan(bound)
    return with_donor(bound, torch.where(finite, int(Status.SOLVED), int(Status.NOT_FINITE)))


def with_donor(bound: Bound, verdict: Tensor) -> Bound:
    """The call with the data of a sound instance for those whose verdict (*batch), a `Status`, is not solved.

    Zero times NaN is NaN: left in place, one bad instance would spoil the gradient of every shared parameter.
    """
    values = []
    finite = verdict == int(Status.SOLVED)
    sound = finite.flatten().to(torch.int8).argmax() if finite.numel() else None
    for spec, value in zip(bound.specs, bound.values, strict=True):
        if sound is None:
            values.append(value)
            continue
        core = value.shape[value.dim() - spec.rank :]
        whole = value.expand((*bound.batch, *core))
        flat = whole.reshape(bound.batch.numel(), *core)
        donor = torch.nan_to_num(flat.index_select(0, sound[None])[0].detach(), nan=1.0, posinf=1.0, neginf=1.0)
        own = _own_mask(finite, value.dim() - spec.rank, value.shape)
        values.append(torch.where(own.reshape((*own.shape, *[1] * spec.rank)), value, donor))
    return Bound(bound.specs, tuple(values), bound.sizes, bound.batch, bound.dtype, verdict.to(torch.int8))


def _own_mask(finite: Tensor, lead: int, shape: torch.Size) -> Tensor:
    """Which of an argument's own instances stay: those that serve some sound instance of the batch."""
    own = finite
    while own.dim() > lead:
        own = own.any(0)
    for axis in range(lead):
        if shape[axis] == 1 and own.shape[axis] != 1:
            own = own.any(axis, keepdim=True)
    return own


def check_promises(layer: str, bound: Bound) -> None:
    """Verify the attributes that call-time parameters promise; raises `InputError` naming parameter and instance.

    An instance that is not finite promises nothing: it is the solve that fails for it, by the layer's policy.
    """
    for spec, value in zip(bound.specs, bound.values, strict=True):
        core = tuple(range(-spec.rank, 0))
        value = value.detach()
        value = torch.where(torch.isfinite(value).all(core, keepdim=True) if core else torch.isfinite(value), value, 0)
        for attribute in sorted(spec.attributes):
            broken = _violation(attribute, value, spec.rank)
            lead = value.dim() - spec.rank
            per_instance = broken.reshape(*value.shape[:lead], -1).amax(-1) if spec.rank else broken
            scale = value.abs().amax() if value.numel() else value.new_zeros(())
            tolerance = 10 * torch.finfo(value.dtype).eps * (1 + float(scale)) * (value.shape[-1] if spec.rank else 1)
            bad = (per_instance > tolerance).nonzero().tolist()
            if bad:
                at = bad[0]
                where = f" of instance {at[0] if len(at) == 1 else at}" if at else ""
                more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
                raise InputError(
                    f"{layer}: `{spec.name}`{where}{more} is promised {attribute} and is not: off by "
                    f"{float(per_instance[tuple(at)]):.3g}"
                )


def _violation(attribute: str, value: Tensor, rank: int) -> Tensor:
    """By how much each entry (or matrix) breaks an attribute; nonpositive where it holds."""
    match attribute:
        case "nonneg":
            return -value
        case "nonpos":
            return value
        case "symmetric":
            return (value - value.mT).abs()
        case "diag":
            return (value - torch.diag_embed(value.diagonal(dim1=-2, dim2=-1))).abs()
    skew = (value - value.mT).abs().flatten(-2).amax(-1)
    eigenvalues = torch.linalg.eigvalsh((value + value.mT) / 2)
    wrong = -eigenvalues[..., 0] if attribute == "psd" else eigenvalues[..., -1]
    return torch.maximum(skew, wrong)


def culprits(bound: Bound, owned: Mapping[str, Tensor]) -> str:
    """Which arguments were not finite and which of the layer's own tensors, by name, are NaN, or else which argument
    breaks a promise, for the message of a failure; nothing where torch.func hides their values."""
    if any(map(values_are_hidden, (*bound.values, *owned.values()))):
        return ""
    lines = [f"the layer's `{name}` holds NaN" for name, value in owned.items() if bool(value.isnan().any())]
    for spec, value in zip(bound.specs, bound.values, strict=True):
        bad = (~torch.isfinite(value)).flatten(value.dim() - spec.rank).any(-1) if spec.rank else ~torch.isfinite(value)
        found = bad.nonzero().tolist()
        if found:
            at = found[0]
            where = f" in instance {at[0] if len(at) == 1 else at}" if at else ""
            shared = ", and all instances share it" if not at and bound.batch else ""
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            lines.append(f"`{spec.name}` is not finite{where}{more}{shared}")
    if not lines:
        try:
            check_promises("", bound)
        except InputError as error:
            lines.append(str(error).removeprefix(": "))
    return "".join(f"\nnote: {line}" for line in lines)
