"""``declarative solve`` and ``diagnose``: numbers against closed forms and cvxpy, every way of giving data."""

from __future__ import annotations

import json
import pickle
import re

import cvxpy as cp
import numpy as np
import pytest
import torch

RNG = np.random.default_rng(0)


def solved(folder, run, *words):
    ran = run("solve", *words, "-o", "out.npz")
    assert ran.code == 0, ran.err
    with np.load(folder / "out.npz", allow_pickle=False) as arrays:
        return dict(arrays), ran


def test_softmax_against_its_closed_form(run, folder):
    x = RNG.normal(size=(4, 3))
    np.save(folder / "x.npy", x)
    arrays, ran = solved(folder, run, "softmax.opt", "--param", "x=x.npy")
    expected = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    np.testing.assert_allclose(arrays["y"], expected, atol=1e-12)
    # The multiplier of L = f + nu (1'y - 1) is logsumexp(x) - 1.
    np.testing.assert_allclose(arrays["dual.simplex"], np.log(np.exp(x).sum(-1)) - 1, atol=1e-12)
    assert arrays["solution.status"].tolist() == ["solved"] * 4
    assert "softmax: 4 instances, n = 3, softmax, float64" in ran.out
    assert "closed form" in ran.out


def test_quadratic_program_against_cvxpy(run, folder):
    n, m, p = 4, 3, 1
    root = RNG.normal(size=(n, n))
    data = {"Q": root @ root.T, "q": RNG.normal(size=n), "A": RNG.normal(size=(p, n)), "b": np.zeros(p)}
    data |= {"G": RNG.normal(size=(m, n)), "h": np.full(m, 0.1)}
    np.savez(folder / "all.npz", **data)
    words = [w for name in data for w in ("--param", f"{name}=all.npz")]
    arrays, _ = solved(folder, run, "optnet_qp.opt", *words)
    z = cp.Variable(n)
    equal, unequal = data["A"] @ z == data["b"], data["G"] @ z <= data["h"]
    cost = cp.Minimize(0.5 * cp.quad_form(z, cp.psd_wrap(data["Q"])) + data["q"] @ z)
    cp.Problem(cost, [equal, unequal]).solve(solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    np.testing.assert_allclose(arrays["z"], z.value, atol=1e-7)
    np.testing.assert_allclose(arrays["lam"], unequal.dual_value, atol=1e-6)
    np.testing.assert_allclose(arrays["nu"], equal.dual_value, atol=1e-6)


def test_cone_program_takes_its_sizes_from_the_data(run, folder):
    arrays, ran = solved(folder, run, "nearest_correlation.opt", "--param", "C=[[2, 0.5], [0.5, 3]]")
    np.testing.assert_allclose(arrays["X"], [[1, 0.5], [0.5, 1]], atol=1e-7)
    assert "n = 2, cone_program" in ran.out


def test_a_batch_in_chunks_is_the_batch(run, folder):
    x = RNG.normal(size=(50, 3, 6))
    np.save(folder / "x.npy", x)
    arrays, ran = solved(folder, run, "sparsemax.opt", "--param", "x=x.npy", "--progress")
    flat = np.sort(x, -1)[..., ::-1]
    excess = flat.cumsum(-1) - 1
    size = (np.arange(1, 7) * flat > excess).sum(-1, keepdims=True)
    threshold = np.take_along_axis(excess, size - 1, -1) / size
    np.testing.assert_allclose(arrays["y"], np.maximum(x - threshold, 0), atol=1e-12)
    assert arrays["dual.simplex"].shape == (50, 3)
    assert "150 instances" in ran.out
    assert "solving" not in ran.out


def test_a_batch_shares_what_has_no_batch(run, folder):
    A, b = RNG.normal(size=(5, 3)), RNG.normal(size=(70, 5))
    np.save(folder / "A.npy", A)
    np.save(folder / "b.npy", b)
    words = ["--param", "A=A.npy", "--param", "b=b.npy", "--param", "lasso=0", "--param", "ridge=0.5"]
    arrays, _ = solved(folder, run, "elastic_net.opt", *words)
    expected = np.linalg.solve(A.T @ A + 0.5 * np.eye(3), (b @ A).T).T
    np.testing.assert_allclose(arrays["w"], expected, atol=1e-8)


def test_float32_computes_in_float32(run, folder):
    arrays, ran = solved(folder, run, "softmax.opt", "--param", "x=[1, 2]", "--dtype", "float32")
    assert arrays["y"].dtype == np.float32
    assert "float32" in ran.out
    assert "float64" not in ran.out


def test_seed_draws_the_same_extern(run, folder):
    (folder / "nets.py").write_text(
        "from torch import nn\n"
        "def decoder():\n    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 3))\n"
        "broken = 3\n"
        "def boom():\n    raise RuntimeError('no weights')\n"
    )
    words = ["savi.opt", "--param", "x=[1,2,3]", "--param", "gamma=1", "--param", "rho=1"]
    words += [w for name in ("mu0", "logvar0", "noise") for w in ("--param", f"{name}=[0.1,0]")]
    extern = ["--extern", "decode=nets:decoder"]
    first, _ = solved(folder, run, *words, *extern, "--seed", "3")
    again, _ = solved(folder, run, *words, *extern, "--seed", "3")
    other, _ = solved(folder, run, *words, *extern, "--seed", "4")
    assert np.array_equal(first["mu"], again["mu"])
    assert not np.array_equal(first["mu"], other["mu"])
    for text, reason in {
        "nets:broken": "`nets:broken` is a int; expected a torch module",
        "nets:boom": "`nets:boom` raised RuntimeError: no weights",
        "nets:none": "AttributeError",
        "nonets:x": "ModuleNotFoundError",
        "nets": "expected package.module:attribute, found `nets`",
    }.items():
        ran = run("solve", *words, "--extern", f"decode={text}")
        assert ran.code == 1
        assert f"error[E706]: cannot load the extern `decode`: {reason}" in ran.err or reason in ran.err
    ran = run("solve", *words)
    assert "error[E701]: the extern `decode` has no module" in ran.err


def test_infeasible_instances_are_named_and_the_others_solved(run, folder):
    words = ["--param", "x=[0.6, 2, 0.8, 3]", "--param", "y0=1", "-o", "out.npz"]
    ran = run("solve", "circle.opt", *words)
    assert ran.code == 1
    assert "error[E705]: 2 of 4 instances have no solution" in ran.err
    assert re.search(r"note: \w+: instances 1, 3", ran.err)
    with np.load(folder / "out.npz") as arrays:
        np.testing.assert_allclose(arrays["y"][[0, 2]], [0.8, 0.6], atol=1e-10)
    ran = run("solve", "circle.opt", "--param", "x=2", "--param", "y0=1")
    assert (ran.code, "error[E705]: no solution was found" in ran.err) == (1, True)


# Values


def write(folder, name, value):
    path = folder / name
    match path.suffix:
        case ".npy":
            np.save(path, value)
        case ".npz":
            np.savez(path, x=value, other=-value)
        case ".csv":
            path.write_text("first,second\n" + ",".join(map(repr, value.tolist())) + "\n")
        case ".json":
            path.write_text(json.dumps({"x": value.tolist()}))
    return path.name


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv", "x.json"])
def test_every_kind_of_file(run, folder, name):
    value = np.array([0.25, -1.5])
    given = write(folder, name, value)
    arrays, _ = solved(folder, run, "softmax.opt", "--param", f"x={given}")
    expected = np.exp(value) / np.exp(value).sum()
    np.testing.assert_allclose(arrays["y"], expected, atol=1e-12)
    if name == "x.npz":
        arrays, _ = solved(folder, run, "softmax.opt", "--param", "x=x.npz:other")
        np.testing.assert_allclose(arrays["y"], expected[::-1], atol=1e-12)


@pytest.mark.parametrize(
    ("text", "shape"), [("1,2\n3,4\n", (2, 2)), ("1\n2\n3\n", (3,)), ("1,2,3\n", (3,)), ("a\n1\n2\n", (2,))]
)
def test_one_row_or_column_of_a_csv_is_a_vector(run, folder, text, shape):
    (folder / "x.csv").write_text(text)
    arrays, _ = solved(folder, run, "sparsemax.opt", "--param", "x=x.csv")
    assert arrays["y"].shape == shape


class Harmful:
    def __reduce__(self):
        return (open, ("harmed", "w"))


def test_pickles_are_never_loaded(run, folder):
    np.save(folder / "object.npy", np.array([Harmful()], dtype=object), allow_pickle=True)
    np.savez(folder / "object.npz", x=np.array([Harmful()], dtype=object))
    for name in ("disguised.npy", "disguised.npz", "x.pkl"):
        (folder / name).write_bytes(pickle.dumps(Harmful()))
    torch.save(torch.ones(2), folder / "x.pt")
    for name, words in {
        "object.npy": "pickled Python objects, which are never loaded",
        "object.npz": "pickled Python objects, which are never loaded",
        "disguised.npy": "is not an .npy file",
        "disguised.npz": "is not an .npz file",
        "x.pkl": "may hold pickled objects, which are never loaded",
        "x.pt": "may hold pickled objects, which are never loaded",
    }.items():
        ran = run("solve", "softmax.opt", "--param", f"x={name}")
        assert (ran.code, ran.out) == (1, "")
        assert "error[E703]: cannot read the value of `x`" in ran.err
        assert words in ran.err
    assert not (folder / "harmed").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("none.npy", "no file `none.npy`"),
        ("abc", "`abc` is neither a value nor a file"),
        ("softmax.opt", "`softmax.opt` is not of a known kind"),
        ("[1,[2]]", "its rows differ in length"),
        ("[1,null]", "expected numbers, found null"),
        ("true", "expected numbers, found `true`"),
        ('["a"]', 'expected numbers, found the text "a"'),
        ("complex.npy", "its entries are complex"),
        ("text.npy", "its entries are text"),
        ("cut.npy", "`cut.npy` is damaged"),
        ("two.npz", "`two.npz` has no array `x`; it holds `a`, `b`"),
        ("two.npz:c", "`two.npz` has no array `c`"),
        ("words.csv", "`two` in line 2 of `words.csv` is not a number"),
        ("ragged.csv", "line 2 of `ragged.csv` has 1 numbers, the lines before it 2"),
        ("empty.csv", "`empty.csv` is empty"),
        ("bad.json", "`bad.json` is not a .json file"),
        ("other.json", "`other.json` has no entry `x`; it holds `y`"),
        ("folder.npy", "cannot read `folder.npy`: it is a directory"),
    ],
)
def test_values_that_cannot_be_read(run, folder, value, text):
    np.save(folder / "complex.npy", np.array([1j]))
    np.save(folder / "text.npy", np.array(["a"]))
    np.save(folder / "cut.npy", np.zeros(100))
    (folder / "cut.npy").write_bytes((folder / "cut.npy").read_bytes()[:200])
    np.savez(folder / "two.npz", a=np.zeros(2), b=np.zeros(2))
    (folder / "words.csv").write_text("1\ntwo\n")
    (folder / "ragged.csv").write_text("1,2\n3\n")
    (folder / "empty.csv").write_text("\n")
    (folder / "bad.json").write_text("{")
    (folder / "other.json").write_text('{"y": 1}')
    (folder / "folder.npy").mkdir()
    ran = run("solve", "softmax.opt", "--param", f"x={value}")
    assert (ran.code, ran.out) == (1, "")
    assert "error[E703]: cannot read the value of `x`: " in ran.err
    assert text in ran.err


def test_missing_and_unknown_parameters_are_told_at_once(run):
    ran = run("solve", "elastic_net.opt", "--param", "A=[[1]]", "--param", "rigde=1")
    assert (ran.code, ran.out) == (1, "")
    assert "error[E702]: no parameter `rigde` for `--param rigde=...`" in ran.err
    assert "did you mean `ridge`?" in ran.err
    assert "error[E701]: the parameter `b` has no value" in ran.err
    assert "expected a value of shape (m,), with any batch dimensions before it" in ran.err
    assert "--param b=b.npy" in ran.err
    assert "lasso` has no value" not in ran.err  # learned: it starts as in training


def test_constants_need_a_value_and_take_it_by_param(run, folder):
    (folder / "shifted.opt").write_text(
        "layer shifted\ndim n\nparam x[n]\nparam c[n] constant\nvar y[n]\nminimize sum_squares(y - x - c)\n"
    )
    ran = run("solve", "shifted.opt", "--param", "x=[1,2]")
    assert "error[E701]: the constant `c` has no value" in ran.err
    arrays, _ = solved(folder, run, "shifted.opt", "--param", "x=[1,2]", "--param", "c=[10,20]")
    np.testing.assert_allclose(arrays["y"], [11, 22], atol=1e-9)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["softmax.opt", "--param", "x=1"], "`x` has shape (); expected (*batch, n)"),
        (["softmax.opt", "--param", "x=[1,2]", "--dim", "n=3"], "where n = 3"),
        (["elastic_net.opt", "--param", "A=[[1,2]]", "--param", "b=[1,2]"], "`b` has shape (2,)"),
        (
            ["low_rank.opt", "--param", "M=[[1,2]]", "--param", "tau=-1"],
            "`tau` is promised nonneg and is not: off by 1",
        ),
        (["elastic_net.opt", "--param", "A=[[1]]", "--param", "b=[1]", "--param", "lasso=-1"], "`lasso`"),
    ],
)
def test_values_that_do_not_fit_point_at_the_declaration(run, words, text):
    ran = run("solve", *words)
    assert (ran.code, ran.out) == (1, "")
    assert "error[E704]: " in ran.err
    assert text in ran.err
    assert "declared here" in ran.err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--param", "x"], "expected NAME=VALUE, found `x`"),
        (["--param", "x=1", "--param", "x=2"], "`--param x=...` is given twice"),
        (["--param", "x=[1]", "-o", "out.npy"], "`-o out.npy` is not an .npz file"),
        (["--parma", "x=[1]"], "did you mean `--param`?"),
        (["--dtype", "float16"], "invalid choice: 'float16'"),
        (["other.opt"], "`other.opt` is one word too many for `solve`"),
    ],
)
def test_wrong_usage(run, words, text):
    ran = run("solve", "softmax.opt", *words)
    assert (ran.code, ran.out) == (2, "")
    assert text in ran.err


@pytest.mark.parametrize("program", ["sparsemax.opt", "softmax.opt"])
def test_numbers_far_apart_give_the_vertex(run, program):
    ran = run("solve", program, "--param", "x=[1e30, 1]")
    assert (ran.code, ran.err) == (0, "")
    assert "[1. 0.]" in ran.out


@pytest.mark.parametrize("program", ["sparsemax.opt", "softmax.opt"])
@pytest.mark.parametrize("command", ["solve", "diagnose"])
def test_no_entries_cannot_add_up_to_one(run, command, program):
    ran = run(command, program, "--param", "x=[]")
    assert ran.code == 1
    assert "infeasible" in ran.out
    assert "internal error" not in ran.err


def test_an_output_that_cannot_be_written_is_told_before_the_solve(run):
    ran = run("solve", "softmax.opt", "--param", "x=[1,2]", "-o", "none/out.npz")
    assert (ran.code, ran.out) == (1, "")
    assert "error[E004]: no folder `none`" in ran.err


# diagnose


def test_diagnose_tells_by_its_exit_code_whether_the_conditions_hold(run):
    ran = run("diagnose", "sparsemax.opt", "--param", "x=[1, 0.7, -3]")
    assert (ran.code, ran.err) == (0, "")
    assert "1 of 1" in ran.out
    ran = run("diagnose", "sparsemax.opt", "--param", "x=[1, 2, 0.5]")  # y[0] is exactly at the threshold
    assert (ran.code, ran.err) == (1, "")
    assert "weakly active: y[0]" in ran.out


def test_diagnose_compares_with_finite_differences(run):
    words = ["--param", "A=[[1,2],[3,5],[0,1]]", "--param", "b=[1,2,3]", "--param", "lasso=0.1", "--param", "ridge=0.2"]
    ran = run("diagnose", "elastic_net.opt", *words)
    assert ran.code == 0
    (line,) = [line for line in ran.out.splitlines() if "finite differences" in line]
    assert re.findall(r"(\w+) (\d\.\de-\d+)", line)
    assert all(float(error) < 1e-5 for _, error in re.findall(r"(\w+) (\d\.\de-\d+)", line))


def test_learned_parameters_without_a_value_are_told_and_the_same_each_time(run, folder):
    (folder / "learned.opt").write_text(
        "layer learned\nparam b[2]\nparam rho nonneg learned\nparam S[2, 2] psd learned\nparam M[2, 2] learned\n"
        "var x[2]\nminimize sum_squares(M @ x - b) + rho * sum_squares(x) + quad_form(x, S)\noutput x\n"
    )
    words = ["learned.opt", "--param", "b=[1,2]"]
    first, ran = solved(folder, run, *words)
    again, _ = solved(folder, run, *words)
    other, _ = solved(folder, run, *words, "--seed", "1")
    assert np.array_equal(first["x"], again["x"])
    assert not np.array_equal(first["x"], other["x"])
    told = [line for line in ran.out.splitlines() if line.startswith("learned `")]
    assert told == [
        "learned `rho` has no value: one in every entry; give it with --param rho=0.1",
        "learned `S` has no value: the identity; give it with --param S=S.npy",
        "learned `M` has no value: drawn at random (seed 0; another with --seed); give it with --param M=M.npy",
    ]
    given = [*words, "--param", "rho=1", "--param", "M=[[1,0],[0,2]]", "--param", "S=[[1,0],[0,1]]"]
    exact, ran = solved(folder, run, *given)
    assert "has no value" not in ran.out
    np.testing.assert_allclose(exact["x"], [1 / 3, 4 / 6], atol=1e-10)
