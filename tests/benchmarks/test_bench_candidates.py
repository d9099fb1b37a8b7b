"""Every adapter gives the exact answer; one whose package is not installed here is left out."""

from __future__ import annotations

import pickle
from functools import cache

import pytest
import torch

from benchmarks import works
from benchmarks.apart import alone
from benchmarks.candidates import jaxopt
from benchmarks.candidates.candidate import Candidate, Kind, UnavailableError, differentiated
from benchmarks.cases import DOUBLE, EXACT, Answer, Case, quadratic_program
from benchmarks.reference import gradient_error, of_program, x_error
from benchmarks.works import Work

INEXACT = ("cvxpylayers", "cvxpylayers, Clarabel at 1e-12")
"""Known not to reach the tolerance: their answers are compared to 1e-2."""


@pytest.fixture(autouse=True)
def double() -> object:
    usual = torch.get_default_dtype()
    torch.set_default_dtype(DOUBLE)
    yield
    torch.set_default_dtype(usual)


def called(candidate: Candidate, case: Case) -> Answer:
    try:
        return candidate.prepare(case if candidate.dtype is None else case.to(candidate.dtype))()
    except ImportError:
        pytest.skip(f"{candidate.distribution} is not installed")


@pytest.mark.parametrize("candidate", [*works.LAYERS, jaxopt.LAYER], ids=lambda c: c.name)
@pytest.mark.parametrize("sizes", [(6, 4, 2), (5, 7, 0)], ids=str)
def test_a_quadratic_program_and_all_six_gradients(candidate: Candidate, sizes: tuple[int, int, int]) -> None:
    case = quadratic_program(3, *sizes)
    answer, exact = called(candidate, case), of_program(case).answer
    tolerance = (1e-2, 1e-2) if candidate.name in INEXACT else EXACT[DOUBLE]
    assert x_error(answer.x, exact.x) < tolerance[0]
    assert gradient_error(answer.gradients, exact.gradients) < tolerance[1]


TABLES = {f"{w.section} {w.title}": w for w in works.tables(quick=False) if w.section in ("simplex", "precision")}


@pytest.mark.parametrize(
    ("work", "candidate"),
    [pytest.param(w, c, id=f"{t}: {c.name}") for t, w in TABLES.items() if "10000" not in t for c in w.candidates],
)
def test_projections_and_precisions_are_exact(work: Work, candidate: Candidate) -> None:
    if candidate.name == "qpth, float32":
        pytest.skip("its float32 gradients are not exact to 1e-2")
    case = stated(work)
    answer, exact = called(candidate, case), work.exact(case, candidate).answer
    tolerance = EXACT[answer.x.dtype]
    assert x_error(answer.x, exact.x) < tolerance.x
    assert gradient_error(answer.gradients, exact.gradients) < tolerance.gradient


@cache
def stated(work: Work) -> Case:
    return work.case()


@pytest.mark.parametrize("work", [w for w in works.tables(True) if w.section == "shared"], ids=lambda w: w.title)
def test_shared_matrices_get_sums(work: Work) -> None:
    case = quadratic_program(3, 6, 5 if "50, 50" in work.title else 0, 2, shared=True)
    exact = of_program(case).answer
    for candidate in (c for c in work.candidates if c.kind is Kind.OURS):
        answer = called(candidate, case)
        assert x_error(answer.x, exact.x) < 1e-10
        assert gradient_error(answer.gradients, exact.gradients) < 1e-8


def test_a_layer_that_loses_a_gradient_is_noticed() -> None:
    case = quadratic_program(2, 3, 2, 1)
    call = differentiated(lambda P, q, A, b, G, h: q + 0 * h.sum(), case)
    with pytest.raises(RuntimeError, match="no gradient for a parameter"):
        call()


def test_what_does_not_fit_says_so() -> None:
    case = quadratic_program(1, jaxopt.LARGEST + 1, 1, 0)
    with pytest.raises(UnavailableError, match="not tried beyond"):
        jaxopt.prepare(case)


def test_names_are_unique_in_a_work() -> None:
    for work in [*works.tables(False), *works.curves(False)]:
        names = [c.name for c in work.candidates]
        assert len(names) == len(set(names)), work.title
        assert work.candidates[0].kind is Kind.OURS


def test_every_work_can_be_sent_to_a_process() -> None:
    for work in [*works.tables(quick=False), *works.curves(quick=False)]:
        for one in work.candidates:
            assert pickle.loads(pickle.dumps((work.case, one)))[1].name == one.name


@pytest.mark.parametrize("title", ["(10, 5, 2), batch 1", "sparsemax, 128 x 10, float32"])
def test_every_process_makes_the_same_case(title: str) -> None:
    (work,) = (w for w in works.tables(quick=True) if w.title == title)
    here, there = work.case(), alone(work.case)
    assert all(map(torch.equal, (*here.parameters, here.cotangent), (*there.parameters, there.cotangent)))
