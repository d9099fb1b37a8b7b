"""What emitted modules are written with: torch and solvers, nothing of the compiler."""

from declarative.runtime import functions
from declarative.runtime.affine_map import AffineMap
from declarative.runtime.assemble import (
    block_matrix,
    block_rows,
    block_vector,
    concatenate,
    dot,
    eye,
    fill,
    flatten,
    full,
    linear_rows,
    matvec,
    split,
    stack,
    tensor,
    tile,
    weighted,
)
from declarative.runtime.binding import Spec
from declarative.runtime.closed_forms import CurvedRow
from declarative.runtime.cone import ConePattern, ConePoint, ConeProgram
from declarative.runtime.curves import curve_to_level
from declarative.runtime.errors import InputError, LayerError, SolveError
from declarative.runtime.layer import Block, Layer, Solution
from declarative.runtime.local import local_problem, root_problem
from declarative.runtime.points import (
    BoundedPoint,
    BoxPoint,
    EqualityPoint,
    InequalityPoint,
    LocalPoint,
    PrimalPoint,
    RootPoint,
    RowPoint,
    SemidefinitePoint,
)
from declarative.runtime.quadratic import DenseQP, QPPoint
from declarative.runtime.simplex import project_on_simplex
from declarative.runtime.smooth import LocalProblem, RootProblem
from declarative.runtime.spectral import semidefinite_parts, shrink_singular_values
from declarative.runtime.spectral_problems import NuclearNormProximal, SemidefiniteProjection
from declarative.runtime.status import Status
from declarative.runtime.thresholds import clip_between_levels, clip_to_level
from declarative.runtime.tilting import tilted_softmax

__all__ = [
    "AffineMap",
    "Block",
    "BoundedPoint",
    "BoxPoint",
    "ConePattern",
    "ConePoint",
    "ConeProgram",
    "CurvedRow",
    "DenseQP",
    "EqualityPoint",
    "InequalityPoint",
    "InputError",
    "Layer",
    "LayerError",
    "LocalPoint",
    "LocalProblem",
    "NuclearNormProximal",
    "PrimalPoint",
    "QPPoint",
    "RootPoint",
    "RootProblem",
    "RowPoint",
    "SemidefinitePoint",
    "SemidefiniteProjection",
    "Solution",
    "SolveError",
    "Spec",
    "Status",
    "block_matrix",
    "block_rows",
    "block_vector",
    "clip_between_levels",
    "clip_to_level",
    "concatenate",
    "curve_to_level",
    "dot",
    "eye",
    "fill",
    "flatten",
    "full",
    "functions",
    "linear_rows",
    "local_problem",
    "matvec",
    "project_on_simplex",
    "root_problem",
    "semidefinite_parts",
    "shrink_singular_values",
    "split",
    "stack",
    "tensor",
    "tile",
    "tilted_softmax",
    "weighted",
]
