"""What the machine could do, and the least that a case asks of it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.cases import SINGLE
from benchmarks.limits import Machine, program_flops


def test_flops_count_what_is_factored() -> None:
    n = 1000
    one = n**3 / 3
    assert program_flops((n, 0, 0), 1, 0) == pytest.approx(2 * one, rel=0.05)
    assert program_flops((n, 0, 0), 1, 0, 64, shared=True) == pytest.approx(2 * one + 64 * 10 * n**2)
    assert program_flops((n, n, 0), 10, 0) == pytest.approx((1 + 6 + 10 + 1) * one, rel=0.05)
    assert program_flops((n, 10 * n, 0), 10, 0) == pytest.approx((310 + 1) * one, rel=0.05)
    few = program_flops((n, n // 10, 0), 20, 0) - program_flops((n, n // 10, 0), 10, 0)
    assert few == pytest.approx(10 * one / 1000, rel=0.3)
    shared, own = (program_flops((n, n, 0), 10, 0, 64, shared=given) for given in (True, False))
    assert own - shared == pytest.approx(63 * 7 * one, rel=0.05)


def test_the_limit_is_what_takes_longest() -> None:
    machine = Machine(1, {(SINGLE, 1): 1e9}, {1 << 20: 1e9}, 1e-5)
    assert machine.limit(1e9, 1 << 20, SINGLE, 1).bound == "flops"
    assert machine.limit(1e9, 1 << 20, SINGLE, 1).seconds == pytest.approx(1 + 1e-5)
    assert machine.limit(1.0, 1 << 20, SINGLE, 1).bound == "bytes"
    assert Machine(1, {(SINGLE, 1): 1e9}, {1 << 20: 1e12}, 1e-5).limit(1.0, 8, SINGLE, 1).bound == "dispatch"


@pytest.mark.parametrize(
    ("size", "copied"),
    [(8, 1 << 20), (1 << 20, 1 << 20), ((1 << 20) + 1, 1 << 21), (3 << 20, 1 << 22), (1 << 40, 1 << 28)],
)
def test_the_bandwidth_is_that_of_the_bytes_in_use(size: int, copied: int) -> None:
    machine = Machine(1, {(SINGLE, 1): 1e30}, {copied: 1e6}, 1e-5)
    assert machine.limit(1.0, size, SINGLE, 1).seconds == pytest.approx(size / 1e6 + 1e-5)


def test_peaks_are_measured_in_another_process_on_the_threads_asked_for() -> None:
    usual = torch.get_num_threads()
    machine = Machine(usual)
    assert 1e8 < machine.peak(SINGLE, 1) < 1e14
    assert torch.get_num_threads() == usual
    assert 1e8 < machine.bandwidth(1 << 16) < 1e14
    assert 1e-7 < machine.dispatch < 1e-2
    assert (set(machine.peaks), set(machine.bandwidths)) == ({(SINGLE, 1)}, {1 << 20})
