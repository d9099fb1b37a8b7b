"""What is semidefinite whatever the data is recognised in its usual spellings, and nothing else is."""

import pytest

from declarative.atoms import call
from declarative.ir.curvature import Curvature
from declarative.ir.definiteness import is_nsd, is_psd
from declarative.ir.expression import Constant, Expression, Let, Parameter, Variable
from declarative.ir.shape import shape_of


def square(name: str, *attributes: str) -> Parameter:
    return Parameter(name, shape_of("n", "n"), frozenset(attributes))


P, N, S, M = square("P", "psd"), square("N", "nsd"), square("S", "symmetric"), square("M")
A = Parameter("A", shape_of("m", "n"))
W = Parameter("W", shape_of("m", "m"), frozenset({"psd"}))
D, E = square("D", "diag", "nonneg"), square("E", "diag", "nonpos")
d, s = Parameter("d", shape_of("n"), frozenset({"nonneg"})), Parameter("s", (), frozenset({"nonneg"}))
free, x = Parameter("free", ()), Variable("x", shape_of("n"))
At = call("transpose", A)


def gram(a: Expression, b: Expression) -> Expression:
    return call("matmul", a, b)


PSD = {
    "declared": P,
    "nonnegative diagonal": D,
    "sum": call("add", P, D),
    "minus nsd": call("neg", N),
    "difference with nsd": call("add", P, call("neg", N)),
    "nonnegative multiple": call("mul", s, P),
    "multiple on the right": call("mul", P, Constant(0.5)),
    "negative multiple of nsd": call("mul", Constant(-2.0), N),
    "quotient": call("div", P, s),
    "transpose": call("transpose", P),
    "inverse": call("inv", P),
    "A' A": gram(At, A),
    "A A'": gram(A, At),
    "square of a symmetric": gram(S, S),
    "congruence A' W A": gram(gram(At, W), A),
    "congruence grouped on the right": gram(At, gram(W, A)),
    "congruence A P A'": gram(gram(A, P), At),
    "diag of nonnegative": call("diag", d),
    "outer of equal": call("outer", d, d),
    "entrywise product": call("mul", P, D),
    "let": Let("H", gram(At, A)),
    "let inside": call("add", Let("H", gram(At, A)), P),
    "gram of lets": gram(Let("B", At), Let("C", A)),
    "written out": Constant(((2.0, 0.0), (0.0, 0.0))),
}

NOT_PSD = {
    "undeclared": M,
    "symmetric": S,
    "nsd": N,
    "minus psd": call("neg", P),
    "difference": call("add", P, call("neg", P)),
    "free multiple": call("mul", free, P),
    "square of a general": gram(M, M),
    "product of two": gram(P, D),
    "congruence in between unknown": gram(gram(At, Parameter("K", shape_of("m", "m"))), A),
    "diag of anything": call("diag", x),
    "outer of different": call("outer", d, Parameter("e", shape_of("n"))),
    "written out": Constant(((0.0, 1.0), (1.0, 0.0))),
    "negative entry": Constant(((1.0, 0.0), (0.0, -1.0))),
}


@pytest.mark.parametrize("case", PSD)
def test_known_psd(case: str) -> None:
    assert is_psd(PSD[case])
    assert is_nsd(call("neg", PSD[case]))
    assert not is_nsd(PSD[case])


@pytest.mark.parametrize("case", NOT_PSD)
def test_not_known_psd(case: str) -> None:
    assert not is_psd(NOT_PSD[case])


@pytest.mark.parametrize(
    "matrix", [N, E, call("inv", N), call("add", N, E), call("mul", s, N), call("diag", call("neg", d))]
)
def test_known_nsd(matrix: Expression) -> None:
    assert is_nsd(matrix)
    assert is_psd(call("neg", matrix))


def test_quadratic_forms_have_the_curvature_of_their_matrix() -> None:
    assert call("quad_form", x, gram(At, A)).curvature is Curvature.CONVEX
    assert call("quad_form", x, N).curvature is Curvature.CONCAVE
    assert call("quad_form", x, M).curvature is Curvature.UNKNOWN
    assert gram(gram(x, P), x).curvature is Curvature.CONVEX
    assert gram(x, gram(N, x)).curvature is Curvature.CONCAVE
    assert gram(x, gram(M, x)).curvature is Curvature.UNKNOWN


def test_a_square_is_known_under_any_name() -> None:
    residual = call("add", call("matmul", A, x), Parameter("b", shape_of("m")))
    named = Let("r", residual)
    assert gram(named, residual).curvature is Curvature.CONVEX
    assert call("mul", named, named).curvature is Curvature.CONVEX
    assert call("mul", x, d).curvature is Curvature.AFFINE
    assert call("mul", x, Variable("y", shape_of("n"))).curvature is Curvature.UNKNOWN
