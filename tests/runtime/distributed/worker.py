"""One of the processes that `test_distributed` starts by torchrun: ``python -m ... worker.py CHECK...``, in order.

Every check holds what two processes compute on halves of a batch against one module on the whole of it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

import declarative as dl

REFINE = """layer refine
param z0[3]
param W[3, 3] learned
extern decode(z[3]) -> y[4] smooth
var z[3] from z0
minimize locally sum_squares(decode(z) - 1) + sum_squares(W @ z - z0)
"""
ALLOCATION = """layer allocation
param gain[4]
param cap nonneg
param curve[4] nonneg learned
var share[4]
maximize gain' @ share - sum((1/2 + curve) * share^2) - 0.1 * (share[0] - share[1])^2
subject to
  budget: sum(share) == 1
  limits: 0 <= share <= cap
"""
SCALAR = ALLOCATION.replace("curve[4]", "curve")


class Model(nn.Module):
    """A local problem with an extern, and a quadratic program, both with learned parameters that the batch shares."""

    def __init__(self, scalar: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        decoder = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))
        self.first, self.second = nn.Linear(6, 3), nn.Linear(3, 4)
        self.refine = dl.compile(REFINE)(W=0.5 * torch.eye(3), decode=decoder)
        curve = 0.2 if scalar else torch.full((4,), 0.2)
        self.allocation = dl.compile(SCALAR if scalar else ALLOCATION)(curve=curve, on_failure="nan")

    def forward(self, x: Tensor, cap: Tensor) -> Tensor:
        shares: Tensor = self.allocation(self.second(self.refine(self.first(x))), cap)
        return shares


def data() -> tuple[Tensor, Tensor]:
    """Features (8, 6) and caps (8,)."""
    random = torch.Generator().manual_seed(1)
    return torch.randn(8, 6, generator=random), 0.3 + torch.rand(8, generator=random) / 2


def own(*whole: Tensor) -> list[Tensor]:
    """This process's half."""
    return [t.chunk(dist.get_world_size())[dist.get_rank()] for t in whole]


def loss(shares: Tensor) -> Tensor:
    """The mean over the instances of a batch; zero for those that have none."""
    return torch.where(shares.isnan(), 0, shares - 0.1).square().sum(-1).mean()


def gradients(model: nn.Module, *given: Tensor) -> dict[str, Tensor]:
    loss(model(*given)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def compare(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert len(found) == len(expected) > 5, (sorted(found), sorted(expected))
    for (name, left), right in zip(found.items(), expected.values(), strict=True):
        left = left.full_tensor() if hasattr(left, "full_tensor") else left
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")
        assert right.abs().max() > 0, name


def data_parallel() -> None:
    """Means over equal halves, which DistributedDataParallel averages, are the mean over the whole."""
    compare(gradients(DistributedDataParallel(Model()), *own(*data())), gradients(Model(), *data()))


def failures() -> None:
    """One process has nothing but failures, and takes part like the other."""
    x, cap = data()
    cap[:4] = 0.1  # four shares of at most 0.1 do not make 1
    model = DistributedDataParallel(Model())
    mine = own(x, cap)
    assert model(*mine).isnan().all().item() is (dist.get_rank() == 0)
    model.zero_grad()
    compare(gradients(model, *mine), gradients(Model(), x, cap))


def fully_sharded() -> None:
    """Parameters in halves, put together for each layer's forward and backward pass."""
    model, expected = Model(), gradients(Model(), *data())
    before = model.state_dict()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for part in (model.refine, model.allocation, model):
        fully_shard(part, mesh=mesh)
    assert all(p.to_local().numel() < p.numel() for p in model.parameters() if p.numel() > 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a view is returned
        compare(gradients(model, *own(*data())), expected)
    register_fsdp_forward_method(model.allocation, "solve")
    assert model.allocation.solve(torch.ones(4), torch.tensor(0.5)).solved
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value.full_tensor() if hasattr(value, "full_tensor") else value, before[name])


def scalar_learned() -> None:
    """FSDP shards no scalars: such a parameter stays whole, and its gradient is averaged by a hook."""
    model, expected = Model(scalar=True), gradients(Model(scalar=True), *data())
    scalars = {p for p in model.parameters() if p.dim() == 0}

    def average(parameter: Tensor) -> None:
        assert parameter.grad is not None
        dist.all_reduce(parameter.grad)
        parameter.grad /= dist.get_world_size()

    for scalar in scalars:
        scalar.register_post_accumulate_grad_hook(average)
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)), ignored_params=scalars)
    assert len(scalars) == 1
    compare(gradients(model, *own(*data())), expected)


def flat_sharded() -> None:
    """The older FullyShardedDataParallel."""
    expected = gradients(Model(), *data())
    model = FullyShardedDataParallel(Model(), device_id=torch.device("cpu"), use_orig_params=True)
    loss(model(*own(*data()))).backward()
    with FullyShardedDataParallel.summon_full_params(model, with_grads=True):
        compare({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}, expected)


def raises() -> None:
    """One process raises; the launcher ends the other, which waits for it."""
    x, cap = data()
    cap[:4] = 0.1
    model = Model()
    model.allocation.on_failure = "raise"
    gradients(DistributedDataParallel(model), *own(x, cap))


CHECKS: dict[str, Callable[[], None]] = {
    check.__name__: check for check in (data_parallel, failures, fully_sharded, scalar_learned, flat_sharded, raises)
}

if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for name in sys.argv[1:]:
        CHECKS[name]()
        dist.barrier()
        if dist.get_rank() == 0:
            print(f"{name}: as one process", flush=True)
    dist.destroy_process_group()
