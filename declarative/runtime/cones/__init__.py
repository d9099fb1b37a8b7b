"""Convex cones: projections and their derivatives. `ConeProduct` is the way in; one file per cone."""

from declarative.runtime.cones.product import Blocks, ConeProduct, ConeSpec

__all__ = ["Blocks", "ConeProduct", "ConeSpec"]
