"""Recognition: the most specific structure that a program has. To add one, write its file and a line here."""

from __future__ import annotations

from declarative.canonical.mismatch import Mismatch
from declarative.canonical.normalise import normalise
from declarative.canonical.quadratic import quadratic_form
from declarative.canonical.separable import separable_form
from declarative.ir.program import Program
from declarative.structures.box import Box
from declarative.structures.budget_softmax import BudgetSoftmax
from declarative.structures.capped_simplex import CappedSimplex
from declarative.structures.cone_program import ConeProgram
from declarative.structures.coupling_row import CouplingRowStructure
from declarative.structures.curved_row import CurvedRow
from declarative.structures.dense_qp import DenseQP
from declarative.structures.equality_qp import EqualityQP
from declarative.structures.halfspace import Halfspace
from declarative.structures.l1_ball import L1Ball
from declarative.structures.l2_ball import L2Ball
from declarative.structures.semidefinite_projection import SemidefiniteProjection
from declarative.structures.simplex import SimplexProjection
from declarative.structures.singular_values import SingularValueShrinkage
from declarative.structures.smooth import Root, SmoothLocal
from declarative.structures.soft_threshold import SoftThreshold
from declarative.structures.softmax import Softmax
from declarative.structures.structure import Canonical, Match, Structure
from declarative.structures.water_filling import WaterFilling

STRUCTURES: tuple[Structure, ...] = (
    Softmax(),
    BudgetSoftmax(),
    CurvedRow(),
    SimplexProjection(),
    CappedSimplex(),
    Halfspace(),
    CouplingRowStructure(),
    Box(),
    SoftThreshold(),
    WaterFilling(),
    SingularValueShrinkage(),
    SemidefiniteProjection(),
    L1Ball(),
    L2Ball(),
    EqualityQP(),
    DenseQP(),
    SmoothLocal(),
    Root(),
    ConeProgram(),
)
"""Most specific first."""

Recognition = tuple[tuple[Structure, Match | Mismatch], ...]


def canonicalise(program: Program) -> Canonical:
    """The forms of a program that recognition reads."""
    if program.objective.local or program.objective.sense == "solve":
        not_convex = Mismatch("the problem is not convex")
        return Canonical(program, None, not_convex, not_convex)
    normal = normalise(program)
    return Canonical(program, normal, quadratic_form(normal), separable_form(normal))


def recognise(canonical: Canonical) -> Recognition:
    """What each structure says, in order, up to and with the first match."""
    answers: list[tuple[Structure, Match | Mismatch]] = []
    for structure in STRUCTURES:
        answers.append((structure, structure.recognise(canonical)))
        if isinstance(answers[-1][1], Match):
            break
    return tuple(answers)


__all__ = ["STRUCTURES", "Canonical", "Match", "Mismatch", "Recognition", "Structure", "canonicalise", "recognise"]
