"""What every cone of the product knows: the Euclidean projection onto it, and the derivative of that projection.

The dual cone needs nothing of its own: by Moreau, v = proj_K(v) - proj_K*(-v), so a pair s in K, z in K* with
s'z = 0 is the same thing as the single vector v = s - z, with s = proj_K(v) and z = proj_K(v) - v.

Where v lies on a kink of the projection (weak activity: s and z both on the boundary, not strictly complementary) the
derivative is one element of the generalised Jacobian, always the same, the largest: **the constraint counts as
inactive**, which never adds a redundant row to the active ones.

proj_K(v) is the gradient of |v|^2/2 - dist(v, K)^2/2, so its second derivative is a symmetric trilinear form: what a
motion along b does to D a is what one along a does to D b.

Reference: Moreau, Décomposition orthogonale d'un espace hilbertien selon deux cônes mutuellement polaires, 1962;
Ali, Wong and Kolter, A semismooth Newton method for fast, generic convex programming, 2017.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Cone(ABC):
    """A closed convex cone in R^dim; compares equal to another with the same kind and parameter."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """The number of rows one cone of this kind takes."""

    @abstractmethod
    def project(self, v: Tensor) -> Tensor:
        """The nearest point of the cone to v (*batch, dim); finite v only."""

    @abstractmethod
    def derivative(self, v: Tensor, weak: Tensor) -> Tensor:
        """D proj_K(v), symmetric with 0 <= D <= I, (*batch, dim, dim); exactly I inside the cone.

        ``weak`` (*batch): the distance from a kink within which v counts as lying on its inactive side.
        """

    @abstractmethod
    def second_derivative(self, v: Tensor, weak: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """D^2 proj_K(v)[a, b], linear and symmetric in a and b, (*batch, dim), on the piece that `derivative` is of.

        NaN where the projection has a first derivative but no second.
        """

    @abstractmethod
    def margin(self, v: Tensor) -> Tensor:
        """Distance of v from the nearest kink of the projection, to first order; (*batch), +inf where there is none."""
