"""Options of a program are settings of its layers, of the types that a caller would give."""

from __future__ import annotations

import pytest
import torch

import declarative as dl

BODY = "layer near\nparam a[3]\nvar x[3]\nminimize sum_squares(x - a)\nsubject to\n  x >= {bound}\n"


@pytest.mark.parametrize("bound", ["0", "norm2(x) - 50"], ids=["quadratic", "cone"])
def test_options_are_settings(bound: str) -> None:
    options = (
        'option max_iterations = 30\noption tolerance = 1e-7\noption on_failure = "nan"\noption check_inputs = true\n'
    )
    source = BODY.format(bound=bound) + options
    layer = dl.compile(dl.parse_program(source, "near.opt"))()
    assert (layer.max_iterations, layer.tolerance, layer.on_failure, layer.check_inputs) == (30, 1e-7, "nan", True)
    assert isinstance(layer.max_iterations, int)
    a = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(layer(a), a, rtol=0, atol=1e-6)


def test_a_keyword_of_the_constructor_wins() -> None:
    kind = dl.compile(dl.parse_program(BODY.format(bound="0") + 'option on_failure = "nan"\n', "near.opt"))
    broken = torch.full((3,), torch.nan, dtype=torch.float64)
    assert bool(kind()(broken).isnan().all())
    with pytest.raises(dl.SolveError):
        kind(on_failure="raise")(broken)
