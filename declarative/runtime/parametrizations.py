"""What keeps the attributes of a learned parameter true while an optimiser moves it.

Each maps an unconstrained tensor to one with the attribute, smoothly; ``right_inverse`` sets a value. A layer reads
``layer.rho`` through them, ``layer.rho = 0.1`` sets it, and optimisers see the unconstrained tensor. (Torch's own
``parametrize`` would change the class of the layer, which then could not be pickled.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from declarative.runtime.errors import InputError


class Parametrization(nn.Module, ABC):
    """A map onto the tensors with an attribute."""

    @abstractmethod
    def forward(self, raw: Tensor) -> Tensor:
        """The value, with the attribute, of an unconstrained tensor."""

    @abstractmethod
    def right_inverse(self, value: Tensor) -> Tensor:
        """An unconstrained tensor whose value this is; raises `InputError` where the attribute does not hold."""


@final
class Nonneg(Parametrization):
    """softplus: entries stay positive, and gradients do not vanish as they approach zero from afar.

    The derivative of softplus is nearly its value, so an entry set to zero would never be trained away from it. Smaller
    entries than `FLOOR` are set to it, and read back as it; all others are kept as they are given.
    """

    FLOOR = 1e-8

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, raw: Tensor) -> Tensor:
        return self.sign * functional.softplus(raw)

    def right_inverse(self, value: Tensor) -> Tensor:
        size = self.sign * value
        if bool((size < 0).any()):
            wanted = "nonnegative" if self.sign > 0 else "nonpositive"
            raise InputError(f"expected {wanted} entries, found {float(value.max() if self.sign < 0 else value.min())}")
        size = size.clamp_min(self.FLOOR)
        return size + torch.log(-torch.expm1(-size))


@final
class Symmetric(Parametrization):
    """The upper triangle, mirrored."""

    def forward(self, raw: Tensor) -> Tensor:
        return raw.triu() + raw.triu(1).mT

    def right_inverse(self, value: Tensor) -> Tensor:
        if not torch.allclose(value, value.mT):
            raise InputError("expected a symmetric matrix")
        return value.triu()


@final
class Semidefinite(Parametrization):
    """L L' with any square L; times -1 for a negative semidefinite matrix."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, raw: Tensor) -> Tensor:
        return self.sign * (raw @ raw.mT)

    def right_inverse(self, value: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(self.sign * (value + value.mT) / 2)
        tolerance = torch.finfo(value.dtype).eps * value.shape[-1] * values.abs().max().clamp_min(1) * 10
        if not torch.allclose(value, value.mT) or bool((values < -tolerance).any()):
            kind = "positive" if self.sign > 0 else "negative"
            raise InputError(f"expected a {kind} semidefinite matrix (symmetric, eigenvalues of one sign)")
        root: Tensor = vectors * values.clamp_min(0).sqrt()
        return root


@final
class Diagonal(Parametrization):
    """A matrix that is zero off its diagonal; with ``sign`` also of one sign on it."""

    def __init__(self, sign: float = 0.0) -> None:
        super().__init__()
        self.entries = Nonneg(sign) if sign else nn.Identity()

    def forward(self, raw: Tensor) -> Tensor:
        diagonal: Tensor = self.entries(raw)
        return torch.diag_embed(diagonal)

    def right_inverse(self, value: Tensor) -> Tensor:
        diagonal = value.diagonal(dim1=-2, dim2=-1)
        if not torch.equal(value, torch.diag_embed(diagonal)):
            raise InputError("expected a diagonal matrix")
        return self.entries.right_inverse(diagonal) if isinstance(self.entries, Nonneg) else diagonal.clone()


def parametrization(attributes: frozenset[str]) -> Parametrization | None:
    """The parametrization for a set of attributes; None where any value will do."""
    sign = 1.0 if attributes & {"nonneg", "psd"} else -1.0 if attributes & {"nonpos", "nsd"} else 0.0
    if "diag" in attributes:
        return Diagonal(sign)
    if attributes & {"psd", "nsd"}:
        return Semidefinite(sign)
    if attributes & {"nonneg", "nonpos"}:
        return Nonneg(sign)
    return Symmetric() if "symmetric" in attributes else None


DRAWN = "drawn at random"


def initial_words(attributes: frozenset[str]) -> str:
    """What `initial_value` gives, in words."""
    minus = "minus " if attributes & {"nonpos", "nsd"} else ""
    if attributes & {"psd", "nsd", "diag"}:
        return f"{minus}the identity"
    return f"{minus}one in every entry" if attributes & {"nonneg", "nonpos"} else DRAWN


def initial_value(
    shape: tuple[int, ...], attributes: frozenset[str], generator: torch.Generator | None = None
) -> Tensor:
    """A start for training: ones for a known sign, the identity for semidefinite and diagonal matrices, else noise."""
    sign = -1.0 if attributes & {"nonpos", "nsd"} else 1.0
    if attributes & {"psd", "nsd", "diag"}:
        return sign * torch.eye(shape[-1])
    if attributes & {"nonneg", "nonpos"}:
        return torch.full(shape, sign)
    scale = shape[-1] ** -0.5 if shape and shape[-1] else 1.0
    value = torch.randn(shape, generator=generator) * scale
    return value.triu() + value.triu(1).mT if "symmetric" in attributes else value
