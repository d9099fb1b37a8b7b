"""Key facts of the sample programs, and the canonical form of expressions that builder and text share."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from declarative.atoms import call
from declarative.diagnostics.diagnostic import DiagnosticError
from declarative.frontend import check, parse_program
from declarative.ir.curvature import Curvature
from declarative.ir.expression import (
    At,
    Constant,
    Expression,
    ExternCall,
    Index,
    IndexRange,
    Let,
    Parameter,
    Range,
    SizeValue,
    Sum,
    Variable,
)
from declarative.ir.program import Dual, OptimalValue, Program
from declarative.ir.shape import Size, shape_of
from declarative.ir.traverse import walk

GOOD = Path(__file__).parents[1] / "programs" / "good"


@cache
def sample(name: str) -> Program:
    return parse_program((GOOD / f"{name}.opt").read_text(encoding="utf-8"), f"{name}.opt")


def expression(text: str) -> Expression:
    """An expression over a few declared names."""
    head = "layer t\ndim n, T = 4\nparam A[n, n]\nparam a[n]\nparam s\nvar x[n]\nvar y[n]\nvar X[T+1, n]\n"
    program = parse_program(f"{head}let e = {text}\nminimize sum(x) + sum(y) + sum(X)\noutput e as e, x, y, X\n")
    value = program.outputs[0].value
    assert isinstance(value, Let)
    return value.body


N = shape_of("n")
A, a, s = Parameter("A", shape_of("n", "n")), Parameter("a", N), Parameter("s", ())
x, y, X = Variable("x", N), Variable("y", N), Variable("X", (Size.of("T") + 1, Size.of("n")))
t = Size.of("t")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("x - y", call("add", x, call("neg", y))),
        ("x + y + a", call("add", call("add", x, y), a)),
        ("-2 * x", call("mul", Constant(-2.0), x)),
        ("x - 2", call("add", x, call("neg", Constant(2.0)))),
        ("1/2 * x", call("mul", call("div", Constant(1.0), Constant(2.0)), x)),
        ("a' @ x", call("matmul", a, x)),
        ("A' @ x", call("matmul", call("transpose", A), x)),
        ("x^2", call("power", x, Constant(2.0))),
        ("x / n", call("div", x, SizeValue(Size.of("n")))),
        ("T * s", call("mul", SizeValue(Size.of("T")), s)),
        ("X[0]", Index(X, (At(Size(0)),))),
        ("X[1..T, 2]", Index(X, (Range(Size(1), Size.of("T")), At(Size(2))))),
        ("sum(X[t] for t in 0..T)", Sum(Index(X, (At(t),)), (IndexRange("t", Size(0), Size.of("T")),))),
        (
            "sum(t * X[t, i] for t in 0..T, i in 0..n-1)",
            Sum(
                call("mul", SizeValue(t), Index(X, (At(t), At(Size.of("i"))))),
                (IndexRange("t", Size(0), Size.of("T")), IndexRange("i", Size(0), Size.of("n") - 1)),
            ),
        ),
        ("sum([1, -2] @ [3, 4.5])", call("sum", call("matmul", Constant((1.0, -2.0)), Constant((3.0, 4.5))))),
    ],
)
def test_canonical_form(text: str, meaning: Expression) -> None:
    assert expression(text) == meaning


@pytest.mark.parametrize(
    ("name", "parameters", "variables", "outputs"),
    [
        ("softmax", "x", "y", "y"),
        ("sparsemax", "x", "y", "y"),
        ("budget_softmax", "x cost limit", "y", "y price"),
        ("circle", "x y0", "y", "y"),
        ("elastic_net", "A b lasso ridge", "w", "w"),
        ("low_rank", "M tau", "X", "X"),
        ("mpc", "x0 A B Q R u_max", "x u", "action x"),
        ("nearest_correlation", "C", "X", "X"),
        ("optnet_qp", "Q q A b G h", "z", "z nu lam"),
        ("portfolio", "mu F d sigma_max cap", "w", "w price_of_risk"),
        ("savi", "x mu0 logvar0 noise gamma rho", "mu logvar", "mu logvar"),
    ],
)
def test_names_of_samples(name: str, parameters: str, variables: str, outputs: str) -> None:
    program = sample(name)
    assert program.name == name
    assert program.doc is not None
    assert [p.name for p in program.parameters] == parameters.split()
    assert [v.name for v in program.variables] == variables.split()
    assert [o.name for o in program.outputs] == outputs.split()


def test_curvature_of_samples() -> None:
    convex = {"elastic_net", "low_rank", "mpc", "nearest_correlation", "optnet_qp", "sparsemax"}
    for name in convex | {"softmax", "budget_softmax", "portfolio"}:
        objective = sample(name).objective
        assert objective.expression is not None
        assert objective.sense == ("minimize" if name in convex else "maximize")
        wanted = Curvature.CONVEX if name in convex else Curvature.AFFINE if name == "portfolio" else Curvature.CONCAVE
        assert objective.expression.curvature is wanted


def test_control_horizon() -> None:
    program = sample("mpc")
    assert [(d.name, d.default) for d in program.dimensions] == [("T", 20), ("nx", None), ("nu", None)]
    assert [v.shape for v in program.variables] == [(Size.of("T") + 1, Size.of("nx")), shape_of("T", "nu")]
    start, dynamics, limits, slew = program.constraints
    T = Size.of("T")
    assert (start.relation, start.indices) == ("==", ())
    assert dynamics.indices == limits.indices == (IndexRange("t", Size(0), T - 1),)
    assert slew.indices == (IndexRange("t", Size(0), T - 2),)
    assert [term.curvature for term in limits.terms] == [Curvature.CONSTANT, Curvature.AFFINE, Curvature.CONSTANT]
    assert limits.relation == "<="
    assert program.outputs[0].value == Index(program.variables[1], (At(Size(0)),))


def test_variational_inference() -> None:
    program = sample("savi")
    assert program.objective.local
    assert [name for name, _ in program.starts] == ["mu", "logvar"]
    assert [let.name for let in program.lets] == ["xhat", "nll", "kl"]
    (decode,) = program.externs
    assert (decode.inputs, decode.output, decode.smooth) == ((("z", shape_of("k")),), ("xhat", shape_of("d")), True)
    assert program.objective.expression is not None
    nodes = list(walk(program.objective.expression))
    assert any(isinstance(node, ExternCall) for node in nodes)
    assert {node.name for node in nodes if isinstance(node, Let)} == {"xhat", "nll", "kl"}


def test_bindings_and_attributes() -> None:
    lasso = sample("elastic_net").parameters[2]
    assert (lasso.binding, lasso.attributes, lasso.shape) == ("learned", frozenset({"nonneg"}), ())
    text = 'layer t\nparam c[2, 2] constant psd = [[2, 1], [1, 3]] "doc"\nvar x[2]\nminimize quad_form(x, c)\n'
    (c,) = parse_program(text).parameters
    assert (c.binding, c.value, c.doc) == ("constant", ((2.0, 1.0), (1.0, 3.0)), "doc")


def test_duals_values_and_default_outputs() -> None:
    head = (
        "layer t\ndim n\nparam a[n]\nvar x[n]\nvar y\nminimize sum_squares(x - a) + y^2\nsubject to\n c: sum(x) == y\n"
    )
    assert [o.name for o in parse_program(head).outputs] == ["x", "y"]
    outputs = parse_program(head + "output dual(c) as price, value, value as cost\n").outputs
    assert [(o.name, o.value) for o in outputs] == [
        ("price", Dual("c")), ("value", OptimalValue()), ("cost", OptimalValue()),
    ]  # fmt: skip


def test_options() -> None:
    text = (
        "layer t\nvar x\nminimize x^2\noption tolerance = 1e-9\noption on_failure = nan\noption check_inputs = true\n"
    )
    options = parse_program(text).options
    assert options == (("tolerance", 1e-9), ("on_failure", "nan"), ("check_inputs", True))


def test_sizes_fixed_from_outside() -> None:
    text = "layer t\ndim k\nvar x[k]\nminimize sum_squares(x - 1)\n"
    with pytest.raises(DiagnosticError, match="nothing determines the dimension `k`"):
        parse_program(text)
    assert parse_program(text, sizes={"k": 3}).dimensions[0].default == 3


def test_error_carries_all_diagnostics_and_reads_as_text() -> None:
    with pytest.raises(DiagnosticError) as caught:
        parse_program("layer t\nvar x\nminimize x^2 + a + b\n", "two.opt")
    assert [d.code for d in caught.value.diagnostics] == ["E201", "E201"]
    assert "two.opt:3:16" in str(caught.value)
    assert "two.opt:3:20" in str(caught.value)


def test_an_error_is_not_told_again_where_its_name_is_used() -> None:
    text = "layer t\nparam a[k]\nvar x\nlet r = a + b\nminimize x^2 + sum(a) + sum(r)\n"
    assert [d.message for d in check(text)] == ["unknown dimension `k`", "unknown name `b`"]


def test_options_are_the_settings_of_a_layer_but_for_what_a_caller_decides() -> None:
    from declarative.ir.program import OPTIONS
    from declarative.runtime.layer import SETTINGS

    assert sorted([*OPTIONS, "smooth", "warm_start"]) == sorted(SETTINGS)


def test_the_sign_of_an_inline_constant_is_read_from_its_value() -> None:
    text = "layer l\nparam w[2] constant = [1, 2]\nparam a[2]\nvar y[2]\nminimize sum(w * abs(y - a)) + y @ y\n"
    assert parse_program(text).objective.expression is not None
    with pytest.raises(DiagnosticError, match="E301"):
        parse_program(text.replace("[1, 2]", "[1, -2]"))
