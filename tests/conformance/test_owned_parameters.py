"""Parameters that a layer owns: learned ones keep their attributes while they train, constants are buffers."""

from __future__ import annotations

import copy
import io
import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.cases import compiled, text

OWNED = """layer owned
dim n
param x[n]
param S[n, n] psd learned
param W[n, n] symmetric learned
param D[n, n] diag psd learned
param w[n] nonneg learned
param rho nonneg learned
param M[n, n] learned
param c[n] constant
var y[n]
let pull = M @ x + W @ c
minimize 1/2 * quad_form(y, S) + 1/2 * quad_form(y, D) + rho * sum_squares(y - x) + sum(w * abs(y)) - pull @ y
output y
"""
N = 3
CONSTANT = torch.tensor([0.4, -0.2, 0.1])


def owned(**keywords: object) -> dl.Layer:
    torch.manual_seed(71)
    return text(OWNED)(**({"n": N, "c": CONSTANT} | keywords)).double()


def batch(seed: int = 72) -> Tensor:
    return 2 * torch.randn(8, N, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def assert_attributes(layer: dl.Layer) -> None:
    S, W, D = layer.S.detach(), layer.W.detach(), layer.D.detach()
    assert torch.equal(S, S.mT)
    assert float(torch.linalg.eigvalsh(S)[0]) >= -1e-12
    assert torch.equal(W, W.mT)
    assert torch.equal(D, torch.diag(D.diagonal()))
    assert bool((D.diagonal() >= 0).all())
    assert bool((layer.w >= 0).all())
    assert layer.rho.item() >= 0


def train(layer: dl.Layer, steps: int = 5, rate: float = 0.3) -> list[float]:
    optimiser = torch.optim.Adam(layer.parameters(), lr=rate)
    target = 0.3 * batch(73)
    losses = []
    for _ in range(steps):
        loss = (layer(batch()) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_attributes_hold_from_the_start_and_through_training() -> None:
    layer = owned()
    assert_attributes(layer)
    before = {n: p.detach().clone() for n, p in layer.named_parameters()}
    losses = train(layer)
    assert_attributes(layer)
    assert losses[-1] < losses[0]
    assert len(before) == 6
    for name, parameter in layer.named_parameters():
        assert not torch.equal(parameter, before[name]), f"{name} was not trained"


def test_violent_steps_break_no_attribute() -> None:
    layer = owned()
    with torch.no_grad():
        for k, parameter in enumerate(layer.parameters()):
            generator = torch.Generator().manual_seed(k)
            parameter.add_(20 * torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator))
    assert_attributes(layer)


def test_gradients_of_learned_parameters_equal_differences() -> None:
    layer = owned()
    cotangent = batch(74)
    (layer(batch()) * cotangent).sum().backward()
    for name, parameter in layer.named_parameters():
        generator = torch.Generator().manual_seed(75)
        direction = torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator)
        start, ends = parameter.detach().clone(), []
        with torch.no_grad():
            for sign in (1, -1):
                parameter.copy_(start + sign * 1e-5 * direction)
                ends.append((layer(batch()) * cotangent).sum().item())
            parameter.copy_(start)
        numeric = (ends[0] - ends[1]) / 2e-5
        assert float((parameter.grad * direction).sum()) == pytest.approx(numeric, rel=1e-4, abs=1e-8), name


def test_given_values_are_the_values() -> None:
    root = torch.randn(N, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = {
        "S": root @ root.mT,
        "W": root + root.mT,
        "D": torch.diag(torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)),
        "w": torch.tensor([0.1, 0.2, 1e-3], dtype=torch.float64),
        "rho": torch.tensor(0.7, dtype=torch.float64),
        "M": root,
    }
    layer = owned(**values)
    for name, value in values.items():
        torch.testing.assert_close(getattr(layer, name).detach(), value, rtol=1e-12, atol=1e-12)
    layer.rho = 0.25
    assert layer.rho.item() == pytest.approx(0.25, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("S", -torch.eye(N), "positive semidefinite"),
        ("W", torch.tensor([[0.0, 1, 0], [0, 0, 0], [0, 0, 0]]), "symmetric"),
        ("D", torch.ones(N, N), "diagonal"),
        ("w", torch.tensor([0.1, -0.1, 0.1]), "nonnegative"),
        ("rho", torch.tensor(-1.0), "nonnegative"),
        ("M", torch.zeros(2, N), "shape"),
        ("c", torch.zeros(2), "shape"),
    ],
)
def test_values_that_break_an_attribute_are_refused(name: str, value: Tensor, message: str) -> None:
    with pytest.raises(dl.InputError, match=rf"(?s)Owned: .*{name}.*{message}"):
        owned(**{name: value})


def test_state_dict_round_trip() -> None:
    layer, other = owned(), owned()
    train(layer)
    assert not torch.equal(layer(batch()), other(batch()))
    stream = io.BytesIO()
    torch.save(layer.state_dict(), stream)
    stream.seek(0)
    state = torch.load(stream)
    assert not other.load_state_dict(state).missing_keys
    assert torch.equal(layer(batch()), other(batch()))
    assert {"c", "M"} <= set(state), "constants and plain parameters go by their own names"


def test_deepcopy_is_independent() -> None:
    layer = owned()
    twin = copy.deepcopy(layer)
    assert type(twin) is type(layer)
    before = layer(batch()).detach()
    assert torch.equal(twin(batch()), before)
    train(twin)
    assert torch.equal(layer(batch()), before)
    assert not torch.equal(twin(batch()), before)
    assert_attributes(twin)


def test_pickle() -> None:
    layer = owned()
    twin = pickle.loads(pickle.dumps(layer))
    assert torch.equal(twin(batch()), layer(batch()))


@pytest.mark.parametrize("name", ["portfolio", "softmax", "mpc"])
def test_layers_without_parameters_of_their_own_are_copied(name: str) -> None:
    """A class that specialises to sizes is copied with its layers like any other."""
    layer = compiled(name)(on_failure="nan")
    twin = copy.deepcopy(layer)
    assert type(twin) is type(layer)
    assert twin.on_failure == "nan"


def test_dtype_follows_the_layer() -> None:
    layer = owned()
    assert layer(batch()).dtype == torch.float64
    single = owned().float()
    assert single(batch().float()).dtype == torch.float32
    torch.testing.assert_close(single(batch().float()).double(), layer(batch()), rtol=1e-3, atol=1e-3)
    with pytest.raises(dl.InputError, match=r"`x` is torch.float64.*the layer's `S` is torch.float32.*layer\.to\("):
        single(batch())


def test_sizes_of_learned_parameters_must_be_known() -> None:
    """No argument of the call determines k, so the constructor asks for it, or for a value that has it."""
    kind = text(
        "layer hidden\ndim n, k\nparam x[n]\nparam W[k, n] learned\nparam b[k] learned\nvar y[n]\n"
        "minimize sum_squares(y - x) + sum_squares(W @ y - b)\n"
    )
    with pytest.raises(dl.InputError, match=r"size of learned `W\[k, n\]` is open; write Hidden\(.*k=\.\.\."):
        kind(n=3)
    with pytest.raises(dl.InputError, match=r"Hidden\(.*n=\.\.\."):
        kind(k=2)
    layer = kind(n=3, k=2).double()
    W, b = layer.W.detach(), layer.b.detach()
    x = batch()
    expected = torch.linalg.solve(torch.eye(3, dtype=torch.float64) + W.mT @ W, (x + b @ W).mT).mT
    torch.testing.assert_close(layer(x).detach(), expected)
    given = kind(W=W, b=b).double()
    torch.testing.assert_close(given(x), layer(x))
    with pytest.raises(dl.InputError, match="`x` has shape"):
        layer(x[:, :2])


INLINE = """layer inline
param x[3]
param c[3] constant = [1, 2, 3]
param U[2, 3] constant = [[1, 0, 1], [0, 1, 0.5]]
param s constant = 0.5
param extra[3] constant
var y[3]
minimize sum_squares(y - x)
subject to
  cap: c @ y <= s
  more: U @ y <= 1
  last: extra @ y == 0
"""


def test_constants_inline_and_by_keyword() -> None:
    extra = torch.tensor([1.0, -1.0, 0.3])
    layer = text(INLINE)(extra=extra).double()
    x = batch()[0]
    y = cp.Variable(3)
    rows = [
        np.array([1, 2, 3]) @ y <= 0.5,
        np.array([[1, 0, 1], [0, 1, 0.5]]) @ y <= 1,
        extra.double().numpy() @ y == 0,
    ]
    cp.Problem(cp.Minimize(cp.sum_squares(y - x.numpy())), rows).solve(solver=cp.CLARABEL)
    np.testing.assert_allclose(layer(x).numpy(), y.value, atol=1e-6)
    assert set(dict(layer.named_buffers())) >= {"c", "U", "s", "extra"}
    assert not list(layer.parameters())
    assert set(layer.state_dict()) == {"c", "U", "s", "extra"}
    with pytest.raises(dl.InputError, match=r"constant `c\[3\]` has its value in the program"):
        text(INLINE)(extra=extra, c=[3.0, 2.0, 1.0])
    with pytest.raises(dl.InputError, match=r"constant `extra\[3\]` needs a value: Inline\(extra=tensor\)"):
        text(INLINE)()
