"""Emitted code finds every dimension in the shapes of the arguments, however the sizes are written."""

from __future__ import annotations

import pytest
import torch

import declarative as dl

SHAPES = {
    "multiple": ("param y[3*n]\nvar x[3*n]", {"y": (6,)}, 2),
    "multiple and one": ("param y[2*n+1]\nvar x[2*n+1]", {"y": (7,)}, 3),
    "sum of two": ("dim m\nparam y[m+n]\nparam z[m]\nvar x[m+n]", {"y": (5,), "z": (3,)}, 2),
    "twice, less another": ("dim m\nparam y[2*n-m]\nparam z[m+1]\nvar x[2*n-m]", {"y": (5,), "z": (4,)}, 4),
    "plain beside a multiple": ("param y[3*n]\nparam z[n]\nvar x[3*n]", {"y": (6,), "z": (2,)}, 2),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kind", ["quadratic", "cone"])
def test_dimension_in_affine_sizes(name: str, kind: str) -> None:
    """The dimension counts terms of a sum, so a wrong value shows in the solution x = n*y."""
    declarations, shapes, n = SHAPES[name]
    never_binding = "subject to\n  norm2(x) <= 1000\n" if kind == "cone" else ""
    use = " + sum(z) * x[0] - sum(z) * x[0]" if "z" in shapes else ""
    source = (
        f"layer sized\ndim n\n{declarations}\n"
        f"minimize 1/2 * sum_squares(x) - sum(y @ x for i in 1..n){use}\n{never_binding}output x\n"
    )
    layer = dl.compile(dl.parse_program(source, "sized.opt"))()
    arguments = {key: torch.arange(1.0, shape[0] + 1, dtype=torch.float64) for key, shape in shapes.items()}
    torch.testing.assert_close(layer(**arguments), n * arguments["y"], rtol=1e-7, atol=1e-7)
    batch = {key: value.expand(3, -1) for key, value in arguments.items()}
    torch.testing.assert_close(layer(**batch), n * batch["y"], rtol=1e-7, atol=1e-7)
