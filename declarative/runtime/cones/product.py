"""A product of cones K = K_1 x K_2 x ... over the rows of one vector, in the order and conventions of Clarabel.

Cones of the same kind and size are treated together, as one more dimension of the batch, wherever their rows lie. The
projection is a torch operation whose derivative is the cones' own: it has no other, since differentiating through an
eigendecomposition breaks at repeated eigenvalues and a root search has no graph at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from declarative.runtime.cones.base import Cone
from declarative.runtime.cones.exponential import Exponential
from declarative.runtime.cones.orthant import Nonnegative, Zero
from declarative.runtime.cones.power import Power
from declarative.runtime.cones.second_order import SecondOrder
from declarative.runtime.cones.semidefinite import Semidefinite
from declarative.runtime.errors import InputError
from declarative.runtime.transforms import pushes_forward, without_tangent

NO_THIRD_DERIVATIVES = (
    "third derivatives of a cone program are not available: its gradient may be differentiated once more and no "
    "further. A problem that lowers to a quadratic program has derivatives of every order"
)

ConeSpec = tuple[str, int | float]


@dataclass(frozen=True)
class Blocks:
    """A block-diagonal symmetric matrix per instance: ``blocks[g]`` (*batch, count, d, d) on ``rows[g]`` (count, d)."""

    rows: tuple[Tensor, ...]
    blocks: tuple[Tensor, ...]
    size: int

    def __matmul__(self, vector: Tensor) -> Tensor:
        """Product with a vector (*batch, size)."""
        out = vector.new_zeros(vector.shape)
        for rows, block in zip(self.rows, self.blocks, strict=True):
            out[..., rows] = (block @ vector[..., rows, None])[..., 0]
        return out

    def free(self) -> Tensor:
        """Mask of the rows whose block is exactly the identity, (*batch, size): cones that bind nowhere."""
        masks = []
        for block in self.blocks:
            d = block.shape[-1]
            eye = torch.eye(d, dtype=block.dtype, device=block.device)
            masks.append((block == eye).all(-1).all(-1, keepdim=True).expand(*block.shape[:-1]))
        batch = self.blocks[0].shape[:-3] if self.blocks else torch.Size()
        device = self.blocks[0].device if self.blocks else None
        out = torch.zeros(*batch, self.size, dtype=torch.bool, device=device)
        for rows, mask in zip(self.rows, masks, strict=True):
            out[..., rows] = mask
        return out

    def dense(self) -> Tensor:
        """The whole matrix, (*batch, size, size)."""
        batch = self.blocks[0].shape[:-3] if self.blocks else torch.Size()
        like = self.blocks[0] if self.blocks else torch.empty(0)
        out = like.new_zeros(*batch, self.size, self.size)
        for rows, block in zip(self.rows, self.blocks, strict=True):
            out[..., rows[:, :, None], rows[:, None, :]] = block
        return out


@dataclass(frozen=True)
class ConeProduct:
    """The product of ``specs``: ("zero", rows), ("nonneg", rows), ("soc", rows), ("psd", order), ("exp", count),
    ("pow", alpha), each on the rows that follow the last one's.

    ``("exp", 2)`` is two exponential cones on six rows; ``("pow", 0.3)`` one power cone on three. Semidefinite cones
    take order (order + 1) / 2 rows, the scaled upper triangle by columns. `InputError` for anything else.
    """

    specs: tuple[ConeSpec, ...]

    @cached_property
    def groups(self) -> tuple[tuple[Cone, Tensor], ...]:
        """Every different cone with the rows of its copies, (count, dim) on the CPU."""
        starts: dict[Cone, list[int]] = {}
        row = 0
        for spec in self.specs:
            cone, count = _cone(spec)
            starts.setdefault(cone, []).extend(row + k * cone.dim for k in range(count))
            row += count * cone.dim
        return tuple((c, torch.tensor(s)[:, None] + torch.arange(c.dim)) for c, s in starts.items() if s and c.dim)

    @cached_property
    def size(self) -> int:
        """The number of rows of the product."""
        return sum(count * cone.dim for cone, count in map(_cone, self.specs))

    @cached_property
    def _order(self) -> Tensor:
        """Where each row lies when the groups' rows are laid end to end."""
        laid = [rows.flatten() for _, rows in self.groups]
        return torch.cat(laid).argsort() if laid else torch.empty(0, dtype=torch.long)

    def project(self, v: Tensor) -> Tensor:
        """The nearest point of K to v (*batch, size), NaN in a cone where v is not finite; differentiable."""
        return _Projection.apply(self, v)  # type: ignore[no-any-return, no-untyped-call]

    def derivative(self, v: Tensor, precision: float | None = None) -> Blocks:
        """D proj_K(v), block by block, v (*batch, size).

        ``precision``: the relative accuracy of v, below which a cone counts as weakly active (by default, a small
        multiple of the rounding of its dtype).
        """
        rows, blocks = [], []
        for cone, where, part, finite, weak in self._parts(v, precision):
            rows.append(where)
            blocks.append(torch.where(finite[..., None], cone.derivative(part, weak), torch.nan))
        return Blocks(tuple(rows), tuple(blocks), self.size)

    def derivative_times(self, v: Tensor, t: Tensor, precision: float | None = None) -> Tensor:
        """D proj_K(v) t, (*batch, size); differentiable once in v and t, and refusing a second time."""
        return _DerivativeProduct.apply(self, precision, v, t)  # type: ignore[no-any-return, no-untyped-call]

    def second_derivative(self, v: Tensor, a: Tensor, b: Tensor, precision: float | None = None) -> Tensor:
        """D^2 proj_K(v)[a, b], (*batch, size); ``precision`` as for `derivative`. Refuses to be differentiated."""
        return _SecondDerivative.apply(self, precision, v, a, b)  # type: ignore[no-any-return, no-untyped-call]

    def _parts(self, v: Tensor, precision: float | None) -> Iterator[tuple[Cone, Tensor, Tensor, Tensor, Tensor]]:
        """Every group of cones with its rows, its part of v and whether that is finite, and how close a kink counts."""
        if precision is None:
            precision = 1e-11 if v.dtype == torch.float64 else 1e-5
        overall = 1e-12 * v.abs().amax(-1, keepdim=True) if self.size else v
        for cone, where in self.groups:
            where = where.to(v.device)
            part, finite = _finite(v[..., where])
            # A single row is exact relative to itself; a block only relative to its largest entry.
            own = precision * torch.linalg.vector_norm(part, dim=-1) if cone.dim > 1 else torch.zeros_like(part[..., 0])
            yield cone, where, part, finite, torch.maximum(own, overall.nan_to_num(0, 0))

    def smallest_margin(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Distance of v from the nearest kink of the projection, and the first row of the cone it belongs to; (*batch).

        +inf and -1 where no cone has a kink.
        """
        margins = [cone.margin(v[..., where.to(v.device)]) for cone, where in self.groups]
        if not margins:
            return v.new_full(v.shape[:-1], torch.inf), v.new_full(v.shape[:-1], -1, dtype=torch.int64)
        first = torch.cat([where[:, 0] for _, where in self.groups]).to(v.device)
        smallest, at = torch.cat(margins, -1).min(-1)
        return smallest, torch.where(smallest.isinf(), -1, first[at])

    def _second_derivative(self, v: Tensor, a: Tensor, b: Tensor, precision: float | None) -> Tensor:
        shape = torch.broadcast_shapes(v.shape, a.shape, b.shape)  # type: ignore[no-untyped-call]
        v, a, b = (x.expand(shape) for x in (v, a, b))
        parts = []
        for cone, where, part, finite, weak in self._parts(v, precision):
            second = cone.second_derivative(part, weak, a[..., where], b[..., where])
            parts.append(torch.where(finite, second, torch.nan).flatten(-2))
        return torch.cat(parts, -1)[..., self._order.to(v.device)] if parts else v.clone()

    def _project(self, v: Tensor) -> Tensor:
        parts = []
        for cone, where in self.groups:
            part, finite = _finite(v[..., where.to(v.device)])
            parts.append(torch.where(finite, cone.project(part), torch.nan).flatten(-2))
        return torch.cat(parts, -1)[..., self._order.to(v.device)] if parts else v.clone()


class _Projection(torch.autograd.Function):
    """proj_K with the derivative of the cones."""

    @staticmethod
    def forward(product: ConeProduct, v: Tensor) -> Tensor:
        return product._project(v)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.product, v = inputs
        ctx.save_for_backward(v)
        ctx.save_for_forward(v)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[None, Tensor]:
        (v,) = ctx.saved_tensors
        return None, ctx.product.derivative_times(v, cotangent)

    @staticmethod
    @pushes_forward
    def jvp(ctx: Any, _: None, tangent: Tensor) -> Tensor:
        (v,) = map(without_tangent, ctx.saved_tensors)
        return ctx.product.derivative_times(v, tangent)  # type: ignore[no-any-return]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[None, int], product: ConeProduct, v: Tensor) -> tuple[Tensor, int]:
        return product.project(v.movedim(in_dims[1], 0)), 0


class _DerivativeProduct(torch.autograd.Function):
    """D proj_K(v) t, so that a mapped v or t is one more dimension of the batch."""

    @staticmethod
    def forward(product: ConeProduct, precision: float | None, v: Tensor, t: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(v.shape, t.shape)  # type: ignore[no-untyped-call]
        return product.derivative(v, precision) @ t.expand(shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.product, ctx.precision, v, t = inputs
        ctx.save_for_backward(v, t)
        ctx.save_for_forward(v, t)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, bar: Tensor | None) -> tuple[Tensor | None, ...]:
        v, t = ctx.saved_tensors
        if bar is None:
            return None, None, None, None
        v_bar = t_bar = None
        if ctx.needs_input_grad[2]:
            v_bar = ctx.product.second_derivative(v, t, bar, ctx.precision).sum_to_size(v.shape)
        if ctx.needs_input_grad[3]:
            t_bar = ctx.product.derivative_times(v, bar, ctx.precision).sum_to_size(t.shape)
        return None, None, v_bar, t_bar

    @staticmethod
    @pushes_forward
    def jvp(ctx: Any, _: None, __: None, v_dot: Tensor | None, t_dot: Tensor | None) -> Tensor:
        v, t = map(without_tangent, ctx.saved_tensors)
        image = ctx.product.derivative_times(v, torch.zeros_like(t) if t_dot is None else t_dot, ctx.precision)
        if v_dot is not None:
            image = image + ctx.product.second_derivative(v, t, v_dot, ctx.precision)
        return image  # type: ignore[no-any-return]

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], product: ConeProduct, precision: float | None, *given: Tensor
    ) -> tuple[Tensor, int]:
        v, t = _mapped_first(given, in_dims[2:])
        return product.derivative_times(v, t, precision), 0


class _SecondDerivative(torch.autograd.Function):
    """D^2 proj_K(v)[a, b], which is the end: it has no derivative of its own."""

    @staticmethod
    def forward(product: ConeProduct, precision: float | None, v: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return product._second_derivative(v, a, b, precision)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.product, ctx.precision, v, a, b = inputs
        ctx.save_for_backward(v, a, b)
        ctx.save_for_forward(v, a, b)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> None:
        raise NotImplementedError(NO_THIRD_DERIVATIVES)

    @staticmethod
    def jvp(ctx: Any, *_: Tensor | None) -> None:
        raise NotImplementedError(NO_THIRD_DERIVATIVES)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], product: ConeProduct, precision: float | None, *given: Tensor
    ) -> tuple[Tensor, int]:
        v, a, b = _mapped_first(given, in_dims[2:])
        return product.second_derivative(v, a, b, precision), 0


def _mapped_first(given: Sequence[Tensor], dims: Sequence[int | None]) -> list[Tensor]:
    """The tensors with a mapped dimension as the first of their batch, ahead of all the others'."""
    rank = max(x.dim() - (dim is not None) for x, dim in zip(given, dims, strict=True))
    return [_lead(x, dim, rank) for x, dim in zip(given, dims, strict=True)]


def _lead(x: Tensor, mapped: int | None, rank: int) -> Tensor:
    """x with its mapped dimension first, ahead of exactly ``rank`` others."""
    if mapped is None:
        return x
    x = x.movedim(mapped, 0)
    return x.reshape(x.shape[0], *[1] * (rank - x.dim() + 1), *x.shape[1:])


def _finite(v: Tensor) -> tuple[Tensor, Tensor]:
    """v with zeros for a cone that has a value which is not finite, and the mask of the others (..., 1)."""
    finite = v.isfinite().all(-1, keepdim=True)
    return torch.where(finite, v, 0), finite


def _cone(spec: Sequence[Any]) -> tuple[Cone, int]:
    """The cone of a spec, and how many copies of it."""
    kind, value = spec
    if kind == "pow":
        if not 0 < value < 1:
            raise InputError(f"cone {tuple(spec)}: the exponent of a power cone lies strictly between 0 and 1")
        return Power(float(value)), 1
    if kind not in ("zero", "nonneg", "soc", "psd", "exp"):
        raise InputError(f"cone {tuple(spec)}: expected one of zero, nonneg, soc, psd, exp, pow")
    if value != int(value) or value < 0:
        raise InputError(f"cone {tuple(spec)}: its size is a whole number")
    size = int(value)
    if kind == "zero":
        return Zero(), size
    if kind == "nonneg":
        return Nonnegative(), size
    if kind == "exp":
        return Exponential(), size
    return (SecondOrder(size), 1) if kind == "soc" else (Semidefinite(size), 1)
