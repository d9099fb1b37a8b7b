"""Semi-amortised inference as a layer: exactness, its derivative in three ways, and two identities of the theory."""

import pytest
import torch
from torch import nn

import declarative as dl
from declarative.runtime.errors import InputError, SolveError
from declarative.runtime.solvers.gradient_descent import GradientDescent

F64 = torch.float64
PROGRAM = """layer savi
dim d, k
param x[d]
param mu0[k]
param logvar0[k]
param noise[k]
param gamma nonneg
param rho nonneg
extern decode(z[k]) -> xhat[d] smooth
var mu[k] from mu0
var logvar[k] from logvar0

let xhat = decode(mu + exp(logvar/2) * noise)
let nll  = sum_squares(x - xhat) / (2 * gamma)
let kl   = 1/2 * sum(mu^2 + exp(logvar) - logvar - 1)

minimize locally nll + kl + rho/2 * (sum_squares(mu - mu0) + sum_squares(logvar - logvar0))
output mu, logvar, value as bound
"""


class Decoder(nn.Module):
    def __init__(self, k: int, hidden: int, d: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(k, hidden), nn.Tanh(), nn.Linear(hidden, d)).to(F64)

    def forward(self, z):
        return self.net(z)


@pytest.fixture(scope="module")
def savi(tmp_path_factory):
    path = tmp_path_factory.mktemp("savi") / "savi.opt"
    path.write_text(PROGRAM)
    return dl.compile(path)


def problem(savi, batch=4, k=4, hidden=12, d=8, rho=0.5, gamma=0.3):
    torch.manual_seed(7)
    layer = savi(decode=Decoder(k, hidden, d))
    x, mu0, logvar0, noise = (torch.randn(batch, n, dtype=F64) for n in (d, k, k, k))
    tensors = [x, mu0 / 2, logvar0 / 4 - 1, noise, torch.tensor(gamma, dtype=F64), torch.tensor(rho, dtype=F64)]
    return layer, [t.requires_grad_() for t in tensors]


def inner(layer, x, mu0, logvar0, noise, gamma, rho, mu, logvar):
    """The bound, written again by hand; one number per instance."""
    xhat = layer.decode(mu + (logvar / 2).exp() * noise)
    nll = (x - xhat).square().sum(-1) / (2 * gamma)
    kl = (mu**2 + logvar.exp() - logvar - 1).sum(-1) / 2
    return nll + kl + rho / 2 * ((mu - mu0).square().sum(-1) + (logvar - logvar0).square().sum(-1))


def loss(out):
    return (out.mu**3).sum() + (out.mu * out.logvar).sum()


def test_256_instances_of_sixteen_latents_are_stationary_to_1e_8_though_one_is_poisoned(savi):
    layer, tensors = problem(savi, 256, 16, 128, 64, gamma=0.1, rho=1.0)
    solution = layer.solve(*tensors)
    assert solution.solved.all()
    mu, logvar = (t.detach().requires_grad_() for t in solution.outputs[:2])
    slopes = torch.autograd.grad(inner(layer, *tensors, mu, logvar).sum(), (mu, logvar))
    assert max(s.abs().max() for s in slopes) <= 1e-8

    tensors[0] = tensors[0].detach().clone()
    tensors[0][100, 7] = torch.nan
    spoilt = layer.solve(*tensors)
    others = torch.arange(256) != 100
    assert torch.equal(spoilt.solved, others)
    # The poisoned instance leaves the batch, and a product of matrices rounds differently with one row less.
    for left, right in zip(spoilt.outputs, solution.outputs, strict=True):
        assert (left - right)[others].abs().max() <= 1e-12


def test_the_derivative_is_that_of_central_differences_and_of_a_long_unroll(savi):
    layer, tensors = problem(savi)
    wanted = [*tensors, *layer.decode.parameters()]
    implicit = torch.autograd.grad(loss(layer(*tensors)), wanted)
    for tensor, gradient in zip(wanted, implicit, strict=True):
        direction = torch.cos(torch.arange(tensor.numel(), dtype=F64)).reshape(tensor.shape)
        values = []
        with torch.no_grad():
            for h in (1e-5, -2e-5):
                tensor += h * direction
                values.append(loss(layer(*tensors)))
            tensor += 1e-5 * direction
        difference = (values[0] - values[1]) / 2e-5
        assert abs((gradient * direction).sum() - difference) <= 1e-5 * abs(difference).clamp_min(1e-1)
    layer.solver = GradientDescent(step_size=0.06, momentum=0.75, steps=250)
    layer.gradient = "unrolled"
    unrolled = torch.autograd.grad(loss(layer(*tensors)), wanted)
    for left, right in zip(unrolled, implicit, strict=True):
        assert (left - right).norm() <= 1e-6 * right.norm().clamp_min(1e-2)


def test_without_the_proximal_term_the_encoder_learns_nothing(savi):
    layer, tensors = problem(savi, rho=0.0)
    out = layer(*tensors)
    to_mu0, to_logvar0, to_x = torch.autograd.grad(loss(out), [tensors[1], tensors[2], tensors[0]])
    assert max(to_mu0.abs().max(), to_logvar0.abs().max()) <= 1e-8
    assert to_x.abs().max() > 1e-2


def test_with_it_the_encoder_learns_by_rho_over_hessian_plus_rho(savi):
    layer, tensors = problem(savi)
    mu0 = tensors[1]
    out = layer(*tensors)
    bar = torch.cos(torch.arange(16, dtype=F64)).reshape(4, 4)
    (found,) = torch.autograd.grad((out.mu * bar).sum(), mu0)
    for i in range(4):
        rows = [t.detach()[i] if t.dim() > 1 else t.detach() for t in tensors]
        at = torch.cat([out.mu[i], out.logvar[i]]).detach()
        H = torch.autograd.functional.hessian(lambda v, rows=rows: inner(layer, *rows, v[:4], v[4:]), at)
        expected = 0.5 * torch.linalg.solve(H, torch.cat([bar[i], torch.zeros(4, dtype=F64)]))[:4]
        assert (found[i] - expected).abs().max() <= 1e-8


def test_the_envelope_theorem(savi):
    layer, tensors = problem(savi)
    wanted = [*tensors, *layer.decode.parameters()]
    out = layer(*tensors)
    through = torch.autograd.grad(out.bound.sum(), wanted)
    fixed = torch.autograd.grad(inner(layer, *tensors, out.mu.detach(), out.logvar.detach()).sum(), wanted)
    for left, right in zip(through, fixed, strict=True):
        assert (left - right).abs().max() <= 1e-8


def test_a_poisoned_instance_leaves_the_others_exact(savi):
    layer, tensors = problem(savi)
    layer.on_failure = "nan"
    x = tensors[0].detach().clone()
    clean = layer(x, *tensors[1:])
    expected = torch.autograd.grad((clean.mu[[0, 2, 3]] ** 2).sum(), [*layer.decode.parameters()])
    x[1, 2] = torch.nan
    spoilt = layer(x, *tensors[1:])
    found = torch.autograd.grad((spoilt.mu[[0, 2, 3]] ** 2).sum(), [*layer.decode.parameters()])
    assert spoilt.mu[1].isnan().all()
    assert torch.equal(spoilt.mu[[0, 2, 3]], clean.mu[[0, 2, 3]])
    assert torch.equal(spoilt.logvar[[0, 2, 3]], clean.logvar[[0, 2, 3]])
    assert all((a - b).abs().max() <= 1e-12 for a, b in zip(found, expected, strict=True))
    layer.on_failure = "raise"
    with pytest.raises(SolveError, match="instance 1: not_finite"):
        layer(x, *tensors[1:])


class Noisy(Decoder):
    def forward(self, z):
        return nn.functional.dropout(self.net(z), 0.5)


def test_dropout_written_as_a_function_is_refused(savi):
    layer, tensors = problem(savi)
    layer.decode = Noisy(4, 12, 8)
    with pytest.raises(InputError, match=r"Savi: extern `decode` draws random numbers.*as a parameter"):
        layer(*tensors)


def test_a_decoder_runs_on_the_whole_batch_at_once(savi):
    layer, tensors = problem(savi, batch=64)
    calls: list[torch.Size] = []
    layer.decode.register_forward_hook(lambda module, given, value: calls.append(value.shape))
    layer.solve(*tensors)
    assert len(calls) < 64
