"""Layers under torch.compile and torch.export: one graph, the numbers of the layer itself, and the failure policy."""

from __future__ import annotations

import copy
import gc
import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor, nn

import declarative as dl
from declarative.runtime.errors import SolveError

F64 = torch.float64

QP = """layer QP
dim n, m
param Q[n, n] psd
param q[n]
param G[m, n]
param h[m]
var x[n]
minimize 1/2 * quad_form(x, Q) + q' @ x
subject to
  rows: G @ x <= h
output x, dual(rows) as price
"""
SPARSEMAX = """layer Sparsemax
dim n
param x[n]
var y[n]
minimize sum_squares(y - x)
subject to
  y >= 0
  sum(y) == 1
"""
BUDGET = """layer Budget
dim n
param x[n]
param cost[n] nonneg
param limit nonneg
var y[n]
maximize x' @ y + sum(entr(y))
subject to
  sum(y) == 1
  cost' @ y <= limit
"""
SHRINK = """layer Shrink
dim m, n
param M[m, n]
param tau nonneg
var X[m, n]
minimize 1/2 * sum_squares(X - M) + tau * norm_nuc(X)
"""
CONE = """layer Ball
dim n = 3
param c[n]
param r nonneg
var x[n]
minimize norm2(x - c) + norm1(x)
subject to
  norm2(x) <= r
"""
LASSO = """layer Lasso
dim m, n
param A[m, n]
param b[m]
param lasso nonneg learned
var w[n]
minimize 1/2 * sum_squares(A @ w - b) + lasso * norm1(w)
"""
INFER = """layer Infer
dim d, k
param x[d]
param z0[k]
extern decode(z[k]) -> xhat[d] smooth
var z[k] from z0
minimize locally sum_squares(x - decode(z)) + sum_squares(z - z0)
"""
TWO = """layer Two
dim k
param z0[k]
extern f(z[k]) -> a[k] smooth
extern g(z[k]) -> b[k] smooth
var z[k] from z0
minimize locally sum_squares(f(z)) + sum_squares(g(z)) + sum_squares(z - z0)
"""
ON_ELLIPSE = """layer OnEllipse
dim n
param c[n]
param a[n] nonneg
var x[n] from c
minimize locally sum_squares(x - c)
subject to
  shell: sum(a * x^2) == 1
output x, dual(shell) as force
"""
CIRCLE = """layer Circle
param x
param y0
var y from y0
solve
  circle: x^2 + y^2 == 1
"""


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def positive(*shape: int) -> Tensor:
    return numbers(*shape, seed=9).abs() + 0.5


def quadratic(batch: int = 3) -> list[Tensor]:
    root = numbers(batch, 4, 4, seed=3)
    return [root @ root.mT + torch.eye(4, dtype=F64), numbers(batch, 4), numbers(5, 4, seed=5), positive(batch, 5)]


def decoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 5)).to(F64)


CASES = {
    "qp": (QP, quadratic(), {}),
    "sparsemax": (SPARSEMAX, [numbers(3, 6)], {}),
    "budget": (BUDGET, [numbers(3, 5), positive(5), torch.tensor(0.9, dtype=F64)], {}),
    "shrink": (SHRINK, [numbers(2, 3, 4), torch.tensor(0.4, dtype=F64)], {}),
    "cone": (CONE, [numbers(3, 3), positive()], {}),
    "lasso": (LASSO, [numbers(2, 6, 4), numbers(2, 6, seed=2)], {"n": 4, "lasso": 0.3}),
    "local": (INFER, [numbers(3, 5), 0.1 * numbers(3, 2)], {"decode": decoder()}),
    "constrained": (ON_ELLIPSE, [numbers(3, 3), positive(3)], {}),
    "root": (CIRCLE, [torch.tensor([0.3, 0.5], dtype=F64), torch.tensor([0.9, -0.8], dtype=F64)], {}),
}


def made(name: str) -> tuple[dl.Layer, list[Tensor]]:
    source, data, keywords = CASES[name]
    return dl.compile(source)(**keywords).to(F64), data


def outputs_and_gradients(function: object, layer: nn.Module, data: list[Tensor]) -> list[Tensor]:
    leaves = [d.clone().requires_grad_() for d in data]
    found = function(*leaves)  # type: ignore[operator]
    outputs = list(found) if isinstance(found, tuple) else [found]
    weights = [numbers(*o.shape, seed=7) for o in outputs]
    loss = sum((o * w).sum() for o, w in zip(outputs, weights, strict=True))
    gradients = torch.autograd.grad(loss, [*leaves, *layer.parameters()])  # type: ignore[arg-type]
    return [*outputs, *gradients]


def compiled(layer: nn.Module, **keywords: object) -> nn.Module:
    torch._dynamo.reset()
    return torch.compile(layer, fullgraph=True, backend="aot_eager", **keywords)  # type: ignore[no-any-return, call-overload]


@pytest.mark.parametrize("name", CASES)
def test_one_graph_with_the_same_numbers(name: str) -> None:
    layer, data = made(name)
    expected = outputs_and_gradients(layer, layer, data)
    found = outputs_and_gradients(compiled(layer), layer, data)
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_one_graph_with_the_same_numbers_in_float32(name: str) -> None:
    """Where an operator of torch runs, autocast is off by a mask of keys; products in half precision would be off by
    some 1e-3."""
    layer, data = made(name)
    layer, data = layer.float(), [d.float() for d in data]
    expected = outputs_and_gradients(layer, layer, data)
    found = outputs_and_gradients(compiled(layer), layer, data)
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)
    exported = torch.export.export(layer, tuple(data)).module()
    values, wanted = exported(*data), layer(*data)
    torch.testing.assert_close(*(tuple(v) if isinstance(v, tuple) else (v,) for v in (values, wanted)))


class Precise(nn.Module):
    """Notes the dtype of its matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.seen = decoder().float(), set[torch.dtype]()

    def forward(self, z: Tensor) -> Tensor:
        self.seen |= {(z[..., None, :] @ z[..., :, None]).dtype}
        return self.inner(z)


@pytest.mark.parametrize("lowered", [False, True], ids=["plain", "autocast"])
def test_an_exported_graph_runs_externs_without_autocast(lowered: bool) -> None:
    """In both passes, whether the caller of the graph is in a region of autocast or not."""
    layer = dl.compile(INFER)(decode=Precise())
    data = [numbers(3, 5).float(), 0.1 * numbers(3, 2).float()]
    graph = torch.export.export(layer, tuple(data)).module()
    layer.decode.seen.clear()
    with torch.autocast("cpu", enabled=lowered):
        graph(data[0], data[1].requires_grad_()).sum().backward()
    assert layer.decode.seen == {torch.float32}


@pytest.mark.parametrize("name", ["qp", "sparsemax", "cone", "constrained"])
def test_nan_for_what_has_no_solution(name: str) -> None:
    """An instance with a NaN has the data of another inside of the graph, and must not return its solution."""
    layer, data = made(name)
    layer.on_failure = "nan"
    which = 1 if name == "qp" else 0
    data = [d.clone() for d in data]
    data[which][1] = torch.nan
    expected = outputs_and_gradients(layer, layer, data)
    assert bool(expected[0][1].isnan().all())
    assert bool(expected[0][[0, 2]].isfinite().all())
    found = outputs_and_gradients(compiled(layer), layer, data)
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-13, equal_nan=True)


GROWING = {
    "qp": lambda batch, n: quadratic(batch),
    "local": lambda batch, n: [numbers(batch, 5), 0.1 * numbers(batch, 2)],
    "constrained": lambda batch, n: [numbers(batch, n), positive(n)],
    "root": lambda batch, n: [0.5 * torch.tanh(numbers(batch)), positive(batch)],
}


@pytest.mark.parametrize("name", GROWING)
def test_another_batch_does_not_compile_again(name: str) -> None:
    """Nor do other sizes; but a batch of one does, which torch takes for no size of its own."""
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    layer, _ = made(name)
    torch._dynamo.reset()
    function = torch.compile(layer, fullgraph=True, backend=counter, dynamic=True)
    frames = []
    for batch, n in ((7, 3), (3, 4), (2, 6), (1, 3), (1, 4), (9, 3)):
        data = GROWING[name](batch, n)
        found = outputs_and_gradients(function, layer, data)
        expected = outputs_and_gradients(layer, layer, data)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
        frames.append(counter.frame_count)
    assert frames[:3] == frames[:1] * 3
    assert frames[3:] == frames[3:4] * 3


def test_an_instance_without_a_solution_raises_when_the_graph_runs() -> None:
    layer, _ = made("qp")
    Q, q, _, _ = quadratic()
    G = torch.stack([torch.ones(4, dtype=F64), -torch.ones(4, dtype=F64)])
    h = torch.tensor([[1.0, 1.0], [1.0, -2.0], [1.0, 1.0]], dtype=F64)
    with pytest.raises(SolveError, match="instance 1: infeasible"):
        compiled(layer)(Q, q, G, h)


def test_an_instance_without_a_solution_is_named_under_vmap() -> None:
    """By its place in what is mapped over, which is all that can be seen there; and so while it is differentiated."""
    layer, (Q, q, _, _) = made("qp")
    G = torch.stack([torch.ones(4, dtype=F64), -torch.ones(4, dtype=F64)])
    h = torch.tensor([[1.0, 1.0], [1.0, -2.0], [1.0, 1.0]], dtype=F64)

    def total(q: Tensor, h: Tensor) -> Tensor:
        return layer(Q[0], q, G, h)[0].sum()

    for function in (total, torch.func.grad(total)):
        with pytest.raises(SolveError, match="instance 1: infeasible") as raised:
            torch.func.vmap(function)(q, h)
        assert raised.value.solved.status.tolist()[0::2] == [0, 0]
    layer.on_failure = "nan"
    assert torch.func.vmap(total)(q, h).isnan().tolist() == [False, True, False]


def test_a_weight_that_two_externs_share() -> None:
    torch.manual_seed(1)
    shared = nn.Linear(2, 2).to(F64)
    layer = dl.compile(TWO)(f=shared, g=nn.Sequential(shared, nn.Tanh()))
    data = [0.1 * numbers(3, 2)]
    expected = outputs_and_gradients(layer, layer, data)
    torch.testing.assert_close(outputs_and_gradients(compiled(layer), layer, data), expected, rtol=1e-12, atol=1e-13)
    apart = dl.compile(TWO)(f=copy.deepcopy(shared), g=nn.Sequential(copy.deepcopy(shared), nn.Tanh()))
    *same, f_weight, f_bias, g_weight, g_bias = outputs_and_gradients(apart, apart, data)
    torch.testing.assert_close(expected, [*same, f_weight + g_weight, f_bias + g_bias], rtol=1e-10, atol=1e-12)


def test_a_copy_solves_its_own_problem() -> None:
    layer, data = made("local")
    copied = copy.deepcopy(layer)
    with torch.no_grad():
        copied.decode[0].weight.mul_(0.5)
    del layer
    found = outputs_and_gradients(compiled(copied), copied, data)
    torch.testing.assert_close(found, outputs_and_gradients(copied, copied, data), rtol=1e-12, atol=1e-13)


def test_mapped_within_a_graph() -> None:
    layer, (Q, q, G, h) = made("qp")

    def loss(q: Tensor) -> Tensor:
        return layer(Q[0], q, G, h[0])[0].square().sum()

    torch._dynamo.reset()
    found = torch.compile(torch.func.vmap(loss), fullgraph=True, backend="aot_eager")(q)
    torch.testing.assert_close(found, torch.func.vmap(loss)(q), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("name", "imports"), [("qp", "declarative, torch"), ("cone", "torch, declarative")])
def test_an_exported_layer_runs_in_another_process(name: str, imports: str, tmp_path: Path) -> None:
    """The import of this package is enough, before torch's, which it does not bring about, or after."""
    layer, data = made(name)
    torch.export.save(torch.export.export(layer, tuple(data)), tmp_path / "layer.pt2")
    torch.save(data, tmp_path / "data.pt")
    program = (
        f"import sys, {imports}\n"
        f"data = torch.load({str(tmp_path / 'data.pt')!r})\n"
        f"found = torch.export.load({str(tmp_path / 'layer.pt2')!r}).module()(*data)\n"
        f"torch.save(found, {str(tmp_path / 'found.pt')!r})\n"
        "assert 'declarative.compiler' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
    found = torch.load(tmp_path / "found.pt", weights_only=False)
    expected = layer(*data)
    expected = list(expected) if isinstance(expected, tuple) else expected
    found = list(found) if isinstance(expected, list) else found
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_an_exported_local_problem_of_any_batch() -> None:
    layer, data = made("local")
    batch = torch.export.Dim("batch")
    exported = torch.export.export(layer, tuple(data), dynamic_shapes=(({0: batch}, {0: batch}),))
    other = GROWING["local"](7, 0)
    torch.testing.assert_close(exported.module()(*other), layer(*other), rtol=1e-12, atol=1e-13)


def test_a_layers_own_functions_stay_in_their_process() -> None:
    layer, data = made("local")
    exported = torch.export.export(layer, tuple(data))
    torch.testing.assert_close(exported.module()(*data), layer(*data), rtol=1e-12, atol=1e-13)
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    del exported, layer
    gc.collect()
    buffer.seek(0)
    again = torch.export.load(buffer)
    with pytest.raises(dl.LayerError, match="not in this process; save the layer itself"):
        again.module()(*data)


@pytest.mark.parametrize("dynamic", [False, True])
def test_shapes_that_do_not_fit_are_named(dynamic: bool) -> None:
    """Also where sizes are symbols."""
    layer, (Q, q, G, h) = made("qp")
    with pytest.raises(
        torch._dynamo.exc.Unsupported, match=r"`h` has shape \(3, 7\); expected .* where m = [0-9]+ from `G`"
    ):
        compiled(layer, dynamic=dynamic)(Q, q, G, torch.ones(3, 7, dtype=F64))
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"`Q` has shape \(4,\); expected"):
        compiled(layer, dynamic=dynamic)(Q[0, 0], q, G, h)


def test_unrolled_gradients_are_refused() -> None:
    layer, data = made("local")
    layer.gradient = "unrolled"
    with pytest.raises(torch._dynamo.exc.Unsupported, match="traces no iterations"):
        compiled(layer)(*data)


@pytest.mark.parametrize("mode", ["compile", "dynamic", "strict", "traced"])
def test_sizes_are_emitted_while_a_graph_is_made(mode: str) -> None:
    layer = dl.compile(CONE.replace("n = 3", "n"))().to(F64)
    function = compiled(layer, dynamic=True if mode == "dynamic" else None)
    for n in (3, 2):
        data = numbers(3, n), positive()
        if mode in ("strict", "traced"):
            function = torch.export.export(layer, data, strict=mode == "strict").module()
        found = function(*data)
        torch.testing.assert_close(found, layer(*data), rtol=1e-12, atol=1e-13)
        named = dl.compile(CONE, n=n)()(*data)
        torch.testing.assert_close(found, named, rtol=1e-12, atol=1e-13)


def test_a_graph_is_made_before_cvxpy_is_imported(tmp_path: Path) -> None:
    """As in a process that compiles at once: torch's compiler must not follow the emission, imports and all."""
    (tmp_path / "ball.opt").write_text(CONE.replace("n = 3", "n"))
    program = (
        "import sys, torch, declarative as dl\n"
        f"layer = dl.compile({str(tmp_path / 'ball.opt')!r})()\n"
        "assert 'cvxpy' not in sys.modules\n"
        "data = torch.tensor([[1.0, -2.0]]), torch.tensor(0.5)\n"
        "found = torch.compile(layer, backend='eager')(*data)\n"
        "torch.testing.assert_close(layer(*data), found)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_operators_by_torchs_own_checks() -> None:
    tensors = [t.requires_grad_() for t in quadratic()]
    how = "('quadratic P q G h', -1, None, None, None, None, 'raise')"
    torch.library.opcheck(torch.ops.declarative.solve.default, (tensors, [], how))


def test_operators_of_a_layers_functions_by_torchs_own_checks() -> None:
    layer, (x, z0) = made("local")
    tensors = [t.detach().clone().requires_grad_() for t in (x, z0, *layer.decode.parameters(), z0)]
    how = f"('local (1,)', {layer._number}, None, None, None, None, 'raise')"
    sizes = [2, 0, 0, 2]
    torch.library.opcheck(torch.ops.declarative.solve.default, (tensors, sizes, how))
    data = [t.detach() for t in tensors]
    *point, status, _, _ = torch.ops.declarative.solve(data, sizes, how)
    bars = [numbers(*p.shape, seed=4) for p in point]
    given = (data, point, status, bars, list(range(len(data))), sizes, how)
    torch.library.opcheck(torch.ops.declarative.pull_back.default, given)
