"""Small tensor functions that emitted modules are written with. All take leading batch dimensions, which broadcast."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from declarative.runtime.quadratic import matvec

__all__ = [
    "block_matrix", "block_rows", "block_vector", "concatenate", "dot", "eye", "fill", "flatten", "full", "linear_rows",
    "matvec", "split", "stack", "tensor", "tile", "weighted",
]  # fmt: skip


def eye(n: int, *, like: Tensor) -> Tensor:
    """The identity matrix (n, n)."""
    return torch.eye(n, dtype=like.dtype, device=like.device)


def full(shape: tuple[int, ...], value: float, *, like: Tensor) -> Tensor:
    """A tensor of one number."""
    return torch.full(shape, value, dtype=like.dtype, device=like.device)


def tensor(values: Any, *, like: Tensor) -> Tensor:
    """Numbers written out, as a tensor."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)


def fill(scalar: Tensor, *shape: int) -> Tensor:
    """A scalar per instance (*batch) copied to (*batch, *shape)."""
    return scalar[(..., *[None] * len(shape))].expand((*scalar.shape, *shape))


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Inner product over the last dimension; (*batch)."""
    return (x * y).sum(-1)


def tile(x: Tensor, lead: tuple[int, ...], *, rank: int) -> Tensor:
    """(*batch, *shape), ``shape`` of ``rank`` dimensions, copied to (*batch, *lead, *shape) and flattened."""
    batch, shape = x.shape[: x.dim() - rank], x.shape[x.dim() - rank :]
    return x.reshape((*batch, *[1] * len(lead), *shape)).expand((*batch, *lead, *shape)).flatten(-rank - len(lead))


def concatenate(*pieces: tuple[Tensor, int]) -> Tensor:
    """Tensors (*batch, *shape) flattened and end to end, each given with the number of its instance dimensions."""
    flat = [flatten(piece, rank) for piece, rank in pieces]
    batch = _broadcast(f.shape[:-1] for f in flat)
    return torch.cat([f.expand(*batch, f.shape[-1]) for f in flat], -1)


def flatten(x: Tensor, rank: int) -> Tensor:
    """(*batch, *shape) with ``rank`` instance dimensions to (*batch, entries), row by row; a scalar to one entry."""
    return x[..., None] if rank == 0 else x.flatten(-rank)


def split(x: Tensor, *shapes: tuple[int, ...]) -> list[Tensor]:
    """The stacked variables (*batch, N) as tensors (*batch, *shape), in order."""
    sizes = [_entries(shape) for shape in shapes]
    parts = torch.split(x, sizes, -1)
    return [part.reshape((*part.shape[:-1], *shape)) for part, shape in zip(parts, shapes, strict=True)]


def block_vector(blocks: Sequence[tuple[Tensor | float, int]], *, like: Tensor) -> Tensor:
    """Vectors end to end, with their sizes. A number or a tensor without that dimension stands for every entry."""
    parts = []
    for block, size in blocks:
        value = block if isinstance(block, Tensor) else full((size,), block, like=like)
        parts.append(value)
    batch = _broadcast(p.shape[:-1] for p in parts)
    return torch.cat([p.expand(*batch, size) for p, (_, size) in zip(parts, blocks, strict=True)], -1)


def block_rows(*blocks: Tensor) -> Tensor:
    """Matrices (*batch, rows, n) below each other."""
    batch = _broadcast(b.shape[:-2] for b in blocks)
    return torch.cat([b.expand(*batch, *b.shape[-2:]) for b in blocks], -2)


def block_matrix(
    blocks: Sequence[Sequence[Tensor | None]], rows: Sequence[int], columns: Sequence[int], *, like: Tensor
) -> Tensor:
    """A matrix from a table of blocks (*batch, rows_i, columns_j); None is zero."""
    present = [b for line in blocks for b in line if b is not None]
    batch = _broadcast(b.shape[:-2] for b in present)
    lines = []
    for line, height in zip(blocks, rows, strict=True):
        parts = [
            full((height, width), 0.0, like=like).expand(*batch, height, width)
            if block is None
            else block.expand(*batch, height, width)
            for block, width in zip(line, columns, strict=True)
        ]
        lines.append(torch.cat(parts, -1))
    return torch.cat(lines, -2)


def linear_rows(
    function: Callable[..., Tensor], shapes: Sequence[tuple[int, ...]], rank: int, *, like: Tensor
) -> tuple[Tensor, Tensor]:
    """An affine function of the stacked variables as (matrix, offset), read off by evaluating it on a basis.

    ``function`` takes one tensor (*any, *shape) per entry of ``shapes`` and returns (*any, *rows) with ``rank`` row
    dimensions; captured parameters may have batch dimensions, in front of which the basis is put. Returns
    (*batch, rows, N) and (*batch, rows), rows flattened.
    """
    total = sum(_entries(shape) for shape in shapes)
    points = torch.cat([full((1, total), 0.0, like=like), eye(total, like=like)])
    inside = function(*split(points[0], *shapes))
    batch = inside.dim() - rank
    spread = points.reshape(total + 1, *[1] * batch, total)
    values = flatten(function(*split(spread, *shapes)), rank)
    offset = values[0]
    matrix = (values[1:] - offset).movedim(0, -1)
    return matrix, offset


def stack(rows: Sequence[Tensor], shape: tuple[int, ...], *, beside: Tensor, rank: int) -> Tensor:
    """The members of an indexed family, (*any, *shape) each, as (*any, members, *shape).

    A family may be empty: its leading dimensions are then those of ``beside``, which has ``rank`` others.
    """
    if rows:
        return torch.stack(list(rows), -1 - len(shape))
    return beside.new_zeros((*beside.shape[: beside.dim() - rank], 0, *shape))


def weighted(rows: Tensor, metric: Tensor, *, per_block: bool = False) -> Tensor:
    """W J for a symmetric W that is block diagonal; (*batch, k, N).

    ``rows`` J (*batch, k, N); ``metric`` (*batch, w, w), the same for every w rows (w divides k), or, ``per_block``,
    (*batch, k / w, w, w). The symmetric part of the metric counts.
    """
    width = metric.shape[-1]
    symmetric = (metric + metric.mT) / 2
    if not per_block:
        symmetric = symmetric[..., None, :, :]
    blocks = rows.reshape(*rows.shape[:-2], rows.shape[-2] // width, width, rows.shape[-1])
    return (symmetric @ blocks).flatten(-3, -2)


def _broadcast(shapes: Iterable[torch.Size]) -> torch.Size:
    return torch.Size(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def _entries(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
