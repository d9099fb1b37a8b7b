"""A product of cones K = K_1 x K_2 x ... over the rows of one vector, in the order and conventions of Clarabel.

Cones of the same kind and size are treated together, as one more dimension of the batch, wherever their rows lie. The
projection is a torch operation whose derivative is the cones' own: it has no other, since differentiating through an
eigendecomposition breaks at repeated eigenvalues and a root search has no graph at all.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        if precision is None:
            precision = 1e-11 if v.dtype == torch.float64 else 1e-5
        overall = 1e-12 * v.abs().amax(-1, keepdim=True) if self.size else v
        rows, blocks = [], []
        for cone, where in self.groups:
            where = where.to(v.device)
            part, finite = _finite(v[..., where])
            # A single row is exact relative to itself; a block only relative to its largest entry.
            own = precision * torch.linalg.vector_norm(part, dim=-1) if cone.dim > 1 else torch.zeros_like(part[..., 0])
            block = cone.derivative(part, torch.maximum(own, overall.nan_to_num(0, 0)))
            rows.append(where)
            blocks.append(torch.where(finite[..., None], block, torch.nan))
        return Blocks(tuple(rows), tuple(blocks), self.size)

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

    def _project(self, v: Tensor) -> Tensor:
        parts = []
        for cone, where in self.groups:
            part, finite = _finite(v[..., where.to(v.device)])
            parts.append(torch.where(finite, cone.project(part), torch.nan).flatten(-2))
        return torch.cat(parts, -1)[..., self._order.to(v.device)] if parts else v.clone()


class _Projection(torch.autograd.Function):
    """proj_K with the derivative of the cones; the derivative itself is a constant for autograd."""

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
        return None, _DerivativeProduct.apply(ctx.product, v, cotangent)  # type: ignore[no-untyped-call]

    @staticmethod
    def jvp(ctx: Any, _: None, tangent: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        return _DerivativeProduct.apply(ctx.product, v, tangent)  # type: ignore[no-any-return, no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[None, int], product: ConeProduct, v: Tensor) -> tuple[Tensor, int]:
        return product.project(v.movedim(in_dims[1], 0)), 0


class _DerivativeProduct(torch.autograd.Function):
    """D proj_K(v) t, so that a mapped v or t is one more dimension of the batch."""

    @staticmethod
    def forward(product: ConeProduct, v: Tensor, t: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(v.shape, t.shape)  # type: ignore[no-untyped-call]
        return product.derivative(v) @ t.expand(shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> None:
        raise NotImplementedError("second derivatives of the projection onto a cone are not available")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], product: ConeProduct, v: Tensor, t: Tensor) -> tuple[Tensor, int]:
        rank = max(x.dim() - (dim is not None) for x, dim in zip((v, t), in_dims[1:], strict=True))
        v, t = (_lead(x, dim, rank) for x, dim in zip((v, t), in_dims[1:], strict=True))
        return _DerivativeProduct.apply(product, v, t), 0  # type: ignore[no-untyped-call]


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
