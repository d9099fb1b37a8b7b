"""``--standalone``: a file that runs where there is torch alone computes what the layer computes here."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import declarative as dl
from declarative.codegen.standalone import packages, standalone
from declarative.codegen.standalone.folding import fold
from tests.conformance.cases import CASES, NAMES, PROGRAMS, Case, compiled
from tests.structures import closed_forms

SIZES = {"portfolio": {"n": 4, "f": 2}, "nearest_correlation": {"n": 3}}
CONES = ("portfolio", "nearest_correlation")
FAST = ("savi", "portfolio")
OF_TORCH = (
    *("torch", "torchgen", "functorch", "numpy", "numpy.libs", "sympy", "mpmath", "networkx", "jinja2", "markupsafe"),
    *("filelock", "fsspec", "typing_extensions.py"),
)
"""What torch itself is installed with."""

RUN = """
import copy, importlib, io, pickle, sys, warnings
warnings.simplefilter("error", RuntimeWarning)
sys.path[:0] = [{site!r}, {folder!r}]
import torch
torch.set_num_threads(1)
job = torch.load("job.pt", weights_only=False)
module = importlib.import_module(job["module"])
layer = getattr(module, job["kind"])(**job["keywords"]).double()
data = {{name: value.requires_grad_() for name, value in job["data"].items()}}

def flat(returned):
    return (returned,) if isinstance(returned, torch.Tensor) else tuple(returned)

outputs = flat(layer(**data))
leaves = [*data.values(), *layer.parameters()]
total = sum((o * o).sum() for o in outputs)
first = torch.autograd.grad(total, leaves, create_graph=job["twice"], allow_unused=True)
second = []
if job["twice"]:
    second = torch.autograd.grad(sum((g * g).sum() for g in first if g is not None), leaves, allow_unused=True)

again = copy.deepcopy(layer)
again.load_state_dict(layer.state_dict(), strict=True)
through = pickle.loads(pickle.dumps(layer))
saved = io.BytesIO()
torch.save(layer, saved)
saved.seek(0)
for other in (again, through, torch.load(saved, weights_only=False)):
    assert all(torch.equal(a, b) for a, b in zip(flat(other(**data)), outputs, strict=True))
solution = layer.solve(**data)
report = layer.diagnose(**data)
assert str(report) and report._repr_html_()
for name in ("declarative", "cvxpy", "lark", "diffcp", *job["without"]):
    assert name not in sys.modules and importlib.util.find_spec(name) is None, name
torch.save(
    dict(outputs=[o.detach() for o in outputs], first=list(first), second=list(second), status=solution.status,
         duals=solution.duals, keys=list(layer.state_dict()), holds=report.holds), "result.pt")
"""


def source(name: str) -> str:
    return dl.compile(PROGRAMS / f"{name}.opt", **SIZES.get(name, {})).source()


def imported(text: str, folder: Path, name: str) -> types.ModuleType:
    path = folder / f"{name}.py"
    path.write_text(text, "utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def flat(returned: Any) -> tuple[Tensor, ...]:
    return (returned,) if isinstance(returned, Tensor) else tuple(returned)


def site_with(names: list[str], folder: Path) -> Path:
    """A folder that holds torch, what torch needs, and the named packages, and nothing else."""
    site, installed = folder / "site", Path(torch.__file__).parents[1]
    site.mkdir()
    for name in {*OF_TORCH, *names, *(f"{n}.libs" for n in names)}:
        if (installed / name).exists():
            (site / name).symlink_to(installed / name)
    return site


@pytest.mark.parametrize(
    "case", [c if c.name in FAST else pytest.param(c, marks=pytest.mark.slow) for c in CASES], ids=NAMES
)
def test_it_runs_where_this_package_is_not_installed(case: Case, tmp_path: Path) -> None:
    """Same outputs, duals, status and derivatives of two orders; copied, pickled and saved like any module."""
    text = standalone(source(case.name))
    (tmp_path / "alone.py").write_text(text, "utf-8")
    cone = case.name in CONES
    assert packages(text) == (["torch", "clarabel", "numpy", "scipy"] if cone else ["torch"])
    data, keywords = case.data(3, (2,)), case.keywords()
    twice = case.second_order
    job = {"module": "alone", "kind": compiled(case.name).__name__, "data": data, "keywords": keywords, "twice": twice}
    torch.save({**job, "without": () if cone else ("scipy", "clarabel")}, tmp_path / "job.pt")
    site = site_with(packages(text)[1:], tmp_path)
    script = RUN.format(site=str(site), folder=str(tmp_path))
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = torch.load(tmp_path / "result.pt")

    layer = case.layer()
    data = {name: value.detach().requires_grad_() for name, value in data.items()}
    outputs, leaves = flat(layer(**data)), [*data.values(), *layer.parameters()]
    first = torch.autograd.grad(sum((o * o).sum() for o in outputs), leaves, create_graph=twice, allow_unused=True)
    close = {"rtol": 1e-7, "atol": 1e-8} if not cone else {"rtol": 1e-12, "atol": 1e-12}
    for ours, theirs in zip(found["outputs"], outputs, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), **close)
    for ours, theirs in zip(found["first"], first, strict=True):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            torch.testing.assert_close(ours.detach(), theirs.detach(), **close)
    if twice:
        total = sum((g * g).sum() for g in first if g is not None)
        for ours, theirs in zip(found["second"], torch.autograd.grad(total, leaves, allow_unused=True), strict=True):
            assert (ours is None) == (theirs is None)
            if theirs is not None:
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    solution = layer.solve(**data)
    assert torch.equal(found["status"], solution.status)
    assert found["duals"].keys() == solution.duals.keys()
    assert found["keys"] == list(layer.state_dict())
    report = layer.diagnose(**data)
    assert torch.equal(found["holds"], report.holds)
    unique = report.licq_rank == report.licq_rows  # else multipliers are not determined
    for name, dual in solution.duals.items():
        torch.testing.assert_close(found["duals"][name][unique], dual[unique], rtol=1e-6, atol=1e-7)


EACH = {case.structure: name for name, case in reversed(closed_forms.CASES.items())}
"""A program for each structure with a closed form."""

RUN_ALL = """
import importlib, sys
sys.path[:0] = [{site!r}, {folder!r}]
import torch
torch.set_num_threads(1)
found = []
for name, kind, data in torch.load("jobs.pt"):
    layer = getattr(importlib.import_module(name), kind)().double()
    leaves = [value.requires_grad_() for value in data.values()]
    outputs = layer(**data)
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
    total = sum((o * o).sum() for o in outputs)
    found.append(([o.detach() for o in outputs], list(torch.autograd.grad(total, leaves, allow_unused=True))))
assert not {{m.partition(".")[0] for m in sys.modules}} & {{"declarative", "cvxpy", "lark", "scipy", "clarabel"}}
torch.save(found, "found.pt")
"""


@pytest.mark.parametrize(
    "names",
    [
        list(EACH.values()),
        pytest.param([n for n in closed_forms.CASES if n not in EACH.values()], marks=pytest.mark.slow),
    ],
    ids=["one of each", "others"],
)
def test_closed_forms_where_this_package_is_not_installed(names: list[str], tmp_path: Path) -> None:
    """Values and gradients, with no trace of the compiled kernels, whose work torch does."""
    jobs = []
    for number, name in enumerate(names):
        case = closed_forms.CASES[name]
        kind = type(case.layer())
        text = standalone(kind.source())
        assert packages(text) == ["torch"]
        assert "data_ptr" not in text
        assert "ctypes" not in text
        (tmp_path / f"alone_{number}.py").write_text(text, "utf-8")
        jobs.append((f"alone_{number}", kind.__name__, case.data(1, (3,))))
    torch.save(jobs, tmp_path / "jobs.pt")
    script = RUN_ALL.format(site=str(site_with([], tmp_path)), folder=str(tmp_path))
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    for name, (outputs, gradients) in zip(names, torch.load(tmp_path / "found.pt"), strict=True):
        case = closed_forms.CASES[name]
        data = {n: v.requires_grad_() for n, v in case.data(1, (3,)).items()}
        expected = flat(case.layer()(**data))
        total = sum((o * o).sum() for o in expected)
        for ours, theirs in zip(outputs, expected, strict=True):
            torch.testing.assert_close(ours, theirs.detach(), rtol=1e-12, atol=1e-12, msg=name)
        for ours, theirs in zip(
            gradients, torch.autograd.grad(total, list(data.values()), allow_unused=True), strict=True
        ):
            assert (ours is None) == (theirs is None), name
            if theirs is not None:
                torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_the_text(name: str, tmp_path: Path) -> None:
    """It imports nothing of this package, knows all its names, has no trace of kernels, and says what it is."""
    text = standalone(source(name))
    tree = ast.parse(text)
    modules = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    modules += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    assert not [m for m in modules if m.split(".")[0] in ("declarative", "cvxpy", "lark", "diffcp")]
    assert "data_ptr" not in text
    assert "ctypes" not in text
    doc = ast.get_docstring(tree)
    assert doc is not None
    assert doc.startswith(f"{name}: ")
    assert "Standalone: " in doc
    assert "Apache License 2.0" in doc
    assert "Written by declarative 0.1" in doc
    (tmp_path / "alone.py").write_text(text, "utf-8")
    rules = ["--isolated", "--no-cache", "--select", "E,F,W,I,B,UP,C4,PIE"]
    rules += ["--ignore", "E741,F841", "--line-length", "120"]
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *rules, "--target-version", "py311", str(tmp_path / "alone.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_parts_that_a_layer_does_not_need_are_left_out() -> None:
    softmax, program = standalone(source("softmax")), standalone(source("optnet_qp"))
    assert "class InteriorPoint" not in softmax
    assert "class DenseQP" not in softmax
    assert "class InteriorPoint(Solver)" in program
    for other in ("class ConeProgram", "class LocalProblem", "class Newton"):
        assert other not in softmax
        assert other not in program
    assert len(softmax.splitlines()) < len(program.splitlines())


def test_same_program_same_bytes() -> None:
    script = (
        "import sys, declarative as dl\nfrom declarative.codegen.standalone import standalone\n"
        f"sys.stdout.write(standalone(dl.compile({str(PROGRAMS / 'elastic_net.opt')!r}).source()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        env={"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
    )
    assert ran.stdout.decode() == standalone(source("elastic_net"))


def test_names_of_a_program_that_the_runtime_has_too(tmp_path: Path) -> None:
    """A layer called like a class of the runtime, and parameters like its functions and imports."""
    text = (
        "layer report\ndim n\nparam usable[n]\nparam re[n]\nparam np[n]\nparam warnings nonneg\n"
        "param functions_exp nonneg\nvar implicit_solve[n]\nvar Layer\n"
        "minimize sum_squares(implicit_solve - usable) + exp(functions_exp) * sum_squares(implicit_solve - re)"
        " + np @ implicit_solve + (Layer - warnings)^2\n"
        "subject to\n  owner: sum(implicit_solve) + Layer <= 1\noutput implicit_solve, Layer, dual(owner) as diagnose\n"
    )
    (tmp_path / "report.opt").write_text(text)
    kind = dl.compile(tmp_path / "report.opt")
    module = imported(standalone(kind.source()), tmp_path, "alone_report")
    torch.manual_seed(0)
    data = [torch.randn(4, dtype=torch.float64) for _ in range(3)] + [torch.tensor(v).double() for v in (0.5, 0.3)]
    assert module.Report.__mro__[1].__name__ == "Layer"
    for ours, theirs in zip(module.Report()(*data), kind()(*data), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)
    assert str(module.Report().double().diagnose(*data))


def alone(name: str, folder: Path, as_module: str) -> dl.Layer:
    """A layer in float64 of a standalone file."""
    case = next(c for c in CASES if c.name == name)
    module = imported(standalone(source(name)), folder, as_module)
    layer: dl.Layer = getattr(module, compiled(name).__name__)(**case.keywords()).double()
    return layer


def gradients(layer: Any, data: dict[str, Tensor]) -> tuple[tuple[Tensor, ...], list[Tensor | None]]:
    """Outputs, and the gradients of a sum of their squares in the parameters of the call."""
    leaves = {name: value.clone().requires_grad_() for name, value in data.items()}
    outputs = flat(layer(**leaves))
    total = sum((o * o).sum() for o in outputs)
    return outputs, list(torch.autograd.grad(total, list(leaves.values()), allow_unused=True))


def assert_same(found: Any, expected: Any) -> None:
    """Equal outputs and gradients, up to what the compiled kernels and torch differ by."""
    for ours, theirs in zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.fixture
def compiler() -> Iterator[None]:
    """torch's compiler as it starts: it counts how often code that layers share was compiled in a process."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("name", NAMES)
def test_it_is_one_graph_where_the_layer_is(name: str, tmp_path: Path) -> None:
    case = next(c for c in CASES if c.name == name)
    data = case.data(2, (2,))
    whole = torch.compile(alone(name, tmp_path, f"alone_graph_{name}"), fullgraph=True, backend="aot_eager")
    assert_same(gradients(whole, data), gradients(case.layer(), data))


@pytest.mark.usefixtures("compiler")
def test_files_and_copies_in_one_process_have_operators_of_their_own(tmp_path: Path) -> None:
    """torch keeps operators by name: other files, and second copies, must not take over those of the first."""
    names = ("savi", "circle", "savi", "sparsemax", "optnet_qp", "optnet_qp")
    layers = [alone(name, tmp_path, f"alone.copy-{number}") for number, name in enumerate(names)]
    assert len({sys.modules[type(layer).__module__]._OPERATORS for layer in layers}) == len(names)
    for name, layer in zip(names, layers, strict=True):
        case = next(c for c in CASES if c.name == name)
        ordinary = torch.compile(case.layer(), fullgraph=True, backend="aot_eager")
        whole = torch.compile(layer, fullgraph=True, backend="aot_eager")
        data = case.data(2)
        assert_same(gradients(whole, data), gradients(ordinary, data))


ROOT = """layer balance
dim n = 80
param x[n]
extern f(z[n], x[n]) -> y[n] smooth
var z[n] from 0
solve
  fixed: z == f(z, x)
"""


class Mixed(torch.nn.Module):
    """A contraction."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(80, 80, generator=generator) / 40)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(z @ self.weight.T + x)


def test_an_equilibrium_of_a_network_with_every_setting(tmp_path: Path) -> None:
    """Solvers, adjoints and gradients that are named when the layer runs are in the file."""
    kind = dl.compile(dl.parse_program(ROOT, "balance.opt"))
    module = imported(standalone(kind.source()), tmp_path, "alone_balance")
    data = {"x": torch.linspace(-1, 1, 80, dtype=torch.float64)}
    ordinary, own = kind(f=Mixed()).double(), module.Balance(f=Mixed()).double()
    for setting, choices in {
        "solver": ("newton", "anderson", "picard", None),
        "adjoint": ("dense", "gmres", "jacobian_free", "neumann:5", None),
        "gradient": ("unrolled", "truncated:3", "implicit"),
    }.items():
        for choice in choices:
            for layer in (ordinary, own):
                setattr(layer, setting, choice)
                layer.solver = layer.solver or ("anderson" if setting == "gradient" else None)
            assert_same(gradients(own, data), gradients(ordinary, data))
    own.solver = "none"
    with pytest.raises(module.InputError, match=r"solver is 'none'; expected .*anderson"):
        own(**data)


def test_a_linear_solve(tmp_path: Path) -> None:
    """A quadratic program without inequalities, which is solved directly."""
    text = "layer fit\ndim m, n\nparam A[m, n]\nparam b[m]\nvar w[n]\nminimize sum_squares(A @ w - b)\n"
    kind = dl.compile(dl.parse_program(text + "subject to\n  total: sum(w) == 1\noutput w, dual(total) as price\n"))
    module = imported(standalone(kind.source()), tmp_path, "alone_fit")
    generator = torch.Generator().manual_seed(0)
    data = {"A": torch.randn(3, 5, 4, generator=generator).double(), "b": torch.randn(5, generator=generator).double()}
    assert_same(gradients(module.Fit(), data), gradients(kind(), data))


# Folding


def folded(text: str) -> str:
    return fold(text, lambda kind: ast.unparse(kind) in ("Absent", "Gone"), lambda call: ast.unparse(call) == "never")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = isinstance(a, (Absent, Gone))\n", "x = False\n"),
        ("def f(a):\n    if isinstance(a, Absent):\n        b()\n    c()  # kept\n", "def f(a):\n    c()  # kept\n"),
        (
            "def f(a):\n    if not isinstance(a, Absent | Gone):\n        raise E\n    g(a)\n",
            "def f(a):\n    raise E\n",
        ),
        ("def f(a):\n    if never():\n        b()\n    else:\n        # why\n        c()\n", "def f(a):\n    c()\n"),
        ("def f(a):\n    if never():\n        b()\n    elif d:\n        c()\n", "def f(a):\n    if d:\n        c()\n"),
        (
            "def f(a):\n    if d:\n        b()\n    elif never():\n        c()\n    else:\n        e()\n",
            "def f(a):\n    if d:\n        b()\n    else:\n        e()\n",
        ),
        (
            "def f(a):\n    if d:\n        b()\n    elif never():\n        c()\n    elif g:\n        e()\n",
            "def f(a):\n    if d:\n        b()\n    elif g:\n        e()\n",
        ),
        ("x = b if never() else c\n", "x = c\n"),
        ("x = 'é', b if never() and d else c\n", "x = 'é', c\n"),
        ("if d and isinstance(a, Here | Absent):\n    b()\n", "if d and isinstance(a, Here):\n    b()\n"),
        ("if isinstance(a, Absent) or d:\n    b()\n", "if d:\n    b()\n"),
        ("if a and not never() and d:\n    b()\n", "if a and d:\n    b()\n"),
        ("K = {\n    Here: 1,\n    Absent: (\n        2,\n    ),\n}\n", "K = {\n    Here: 1,\n}\n"),
        ("K = {\n    Absent: 1,\n    Gone: 2,\n}\n", "K = {}\n"),
        ("def f():\n    if never():\n        return 1\n", "def f():\n    pass\n"),
        (
            "def f():\n    from declarative.runtime.layer import Layer\n\n    return Layer\n",
            "def f():\n    return Layer\n",
        ),
    ],
    ids=range(16),
)
def test_branches_that_are_never_taken(text: str, expected: str) -> None:
    assert folded(text) == expected
