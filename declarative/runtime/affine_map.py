"""An affine map theta -> c + M theta with a constant sparse M: how a cone program's data depend on its parameters.

M is kept as triplets (row, column, coefficient). The product gathers the columns, multiplies and adds up by row, which
is differentiable, runs on any device and dtype, and takes any leading batch dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from declarative.runtime.errors import InputError


@dataclass(frozen=True, eq=False)
class AffineMap:
    """theta (*batch, columns) -> values (*batch, rows), value[i] = constant[i] + sum_k coefficient[k] theta[column[k]].

    ``entries``: the triplets as three sequences, rows, columns and coefficients; repeated places add up.
    ``constant``: one number per row, or the rows that have one with their number as ``{row: number}``; empty for zero.
    `InputError` where an entry lies outside the map.
    """

    rows: int
    columns: int
    entries: tuple[Sequence[int], Sequence[int], Sequence[float]] = ((), (), ())
    constant: Sequence[float] | dict[int, float] = ()
    _columns_read: tuple[int, ...] = field(default=(), init=False, repr=False)
    _placed: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        row, column, coefficient = self.entries
        object.__setattr__(self, "_columns_read", tuple(sorted(set(column))))
        if not len(row) == len(column) == len(coefficient):
            lengths = f"{len(row)} rows, {len(column)} columns and {len(coefficient)} coefficients"
            raise InputError(f"affine map: {lengths}; expected as many of each")
        if any(not 0 <= i < self.rows for i in row) or any(not 0 <= j < self.columns for j in column):
            raise InputError(f"affine map: an entry lies outside the {self.rows} x {self.columns} matrix")
        if isinstance(self.constant, dict):
            if any(not 0 <= i < self.rows for i in self.constant):
                raise InputError(f"affine map: a constant lies outside the {self.rows} rows")
        elif len(self.constant) not in (0, self.rows):
            raise InputError(f"affine map: {len(self.constant)} constants for {self.rows} rows")

    def constant_at(self, row: int) -> float:
        """The constant of one row."""
        if isinstance(self.constant, dict):
            return float(self.constant.get(row, 0))
        return float(self.constant[row]) if self.constant else 0.0

    def __call__(self, *theta: Tensor) -> Tensor:
        """The values, (*batch, rows), of the flat parameter vector.

        The vector may come in consecutive pieces (*batch_i, k_i), sum k_i = columns. Only the pieces that the map reads
        determine the batch, so that data which depend on shared parameters alone stay shared.
        """
        if not theta:
            raise InputError("affine map: expected the parameter vector, or its pieces")
        if sum(piece.shape[-1] for piece in theta) != self.columns:
            sizes = " + ".join(str(piece.shape[-1]) for piece in theta)
            raise InputError(f"affine map: the parameter vector has {sizes} entries, expected {self.columns}")
        row, column, coefficient, constant = self._on(theta[0].device, theta[0].dtype)
        read = self._pieces_read(tuple(piece.shape[-1] for piece in theta))
        if not read:
            return constant
        batch = torch.broadcast_shapes(*(theta[k].shape[:-1] for k in read))  # type: ignore[no-untyped-call]
        # An unread piece only keeps the place of its columns.
        pieces = [
            piece.expand(*batch, piece.shape[-1])
            if k in read
            else coefficient.new_zeros(()).expand(*batch, piece.shape[-1])
            for k, piece in enumerate(theta)
        ]
        vector = pieces[0] if len(pieces) == 1 else torch.cat(pieces, -1)
        terms = vector[..., column] * coefficient
        return constant.expand(*batch, self.rows).index_add(-1, row, terms)

    def _pieces_read(self, sizes: tuple[int, ...]) -> list[int]:
        """Indices of the pieces in which some entry's column lies."""
        read, start = [], 0
        for k, size in enumerate(sizes):
            if any(start <= column < start + size for column in self._columns_read):
                read.append(k)
            start += size
        return read

    def _on(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Rows, columns, coefficients and constant as tensors, made once per device and dtype."""
        key = (device, dtype)
        placed = self._placed.get(key)
        if placed is None:
            with torch.inference_mode(False):  # what is made on a first call in inference mode serves training too
                placed = self._made(device, dtype)
            if not torch.compiler.is_compiling():  # what an export makes here is no tensor of ours
                self._placed[key] = placed
        return placed

    def _made(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        row, column, coefficient = self.entries
        constant = torch.zeros(self.rows, dtype=torch.float64)
        if isinstance(self.constant, dict):
            for i, value in self.constant.items():
                constant[i] = value
        elif len(self.constant):
            constant = torch.tensor(self.constant, dtype=torch.float64)
        return (
            torch.tensor(row, dtype=torch.long, device=device),
            torch.tensor(column, dtype=torch.long, device=device),
            torch.tensor(coefficient, dtype=torch.float64).to(device, dtype),
            constant.to(device, dtype),
        )
