"""Arguments of a call: by position or by name, and what is said about those that do not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import declarative as dl
from tests.conformance.cases import CASES, NAMES, Case, Data, compiled

QP = next(case for case in CASES if case.name == "optnet_qp")


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_position_and_keyword_are_the_same_call(case: Case) -> None:
    layer, data = case.layer(), case.data(61)
    names = list(data)
    by_position = case.named(layer(*data.values()))
    reverse = dict(reversed(list(data.items())))
    mixed = layer(*[data[n] for n in names[:1]], **{n: data[n] for n in reversed(names[1:])})
    for other in (case.named(layer(**reverse)), case.named(mixed)):
        for name, value in by_position.items():
            assert torch.equal(value, other[name])


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_outputs_are_named_and_one_alone_is_bare(case: Case) -> None:
    returned = case.layer()(**case.data(62))
    if len(case.outputs) == 1:
        assert isinstance(returned, Tensor)
    else:
        assert returned._fields == case.outputs


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_repeated_calls_and_gradients_are_the_same_bits(case: Case) -> None:
    layer = case.layer()
    seen = []
    for _ in range(2):
        data = {n: v.requires_grad_() for n, v in case.data(63, (3,)).items()}
        outputs = case.named(layer(**data))
        total: Tensor = sum(v.square().sum() for v in outputs.values())  # type: ignore[assignment]
        gradients = torch.autograd.grad(total, list(data.values()), allow_unused=True, materialize_grads=True)
        seen.append([*outputs.values(), *gradients])
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


def changed(name: str, change: Callable[[Tensor], object]) -> Data:
    data = QP.data(1)
    return data | {name: change(data[name])}  # type: ignore[dict-item]


MISFITS: dict[str, tuple[Data, str]] = {
    "inner size": (changed("G", lambda G: G[:, :4]), r"`G` has shape \(3, 4\).*expected \(\*batch, m, n\).*n = 5"),
    "number of rows": (changed("h", lambda h: h[:2]), r"`h` has shape \(2,\).*expected \(\*batch, m\).*m = 3 from `G`"),
    "rank": (changed("Q", lambda Q: Q[0]), r"`Q` has shape \(5,\).*expected \(\*batch, n, n\)"),
    "transposed": (changed("A", lambda A: A.mT), r"`A` has shape \(5, 2\)|`b` has shape"),
    "integers": (changed("q", lambda q: q.long()), r"`q` is torch.int64.*floating-point"),
    "complex": (changed("q", lambda q: q.cfloat()), r"`q` is torch.complex64.*real"),
    "another dtype": (changed("b", lambda b: b.float()), r"`b` is torch.float32.*`Q` is torch.float64"),
    "no tensor": (changed("b", lambda b: "two"), r"`b` is a str; expected a tensor \(\*batch, p\)"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfits_are_named(name: str) -> None:
    data, message = MISFITS[name]
    with pytest.raises(dl.InputError, match=rf"(?s)OptnetQp: .*{message}"):
        QP.layer()(**data)


def test_missing_unknown_twice_and_too_many() -> None:
    layer, data = QP.layer(), QP.data(1)
    without = {n: v for n, v in data.items() if n not in ("G", "h")}
    with pytest.raises(dl.InputError, match=r"missing `G` of shape \(\*batch, m, n\), `h` of shape \(\*batch, m\)"):
        layer(**without)
    with pytest.raises(dl.InputError, match=r"no parameter `H`"):
        layer(**data, H=data["h"])
    with pytest.raises(dl.InputError, match=r"`Q` is given twice"):
        layer(data["Q"], **data)
    with pytest.raises(dl.InputError, match=r"7 arguments given, 6 expected"):
        layer(*data.values(), data["h"])


def test_batches_that_do_not_broadcast() -> None:
    data = QP.data(1)
    data["q"], data["h"] = data["q"].expand(3, 5), data["h"].expand(2, 3)
    with pytest.raises(dl.InputError, match=r"do not broadcast.*`q` \(3,\), `h` \(2,\)"):
        QP.layer()(**data)


def test_keywords_of_the_constructor() -> None:
    kind = compiled("optnet_qp")
    with pytest.raises(dl.InputError, match="`Q` is an argument of the call"):
        kind(Q=torch.eye(3))
    with pytest.raises(dl.InputError, match=r"no keyword `tolerence`.*tolerance"):
        kind(tolerence=1e-9)
    with pytest.raises(dl.InputError, match="extern `decode` needs a torch module"):
        compiled("savi")()
    with pytest.raises(dl.InputError, match="extern `decode` needs a torch module"):
        compiled("savi")(decode=lambda z: z)


class TestPromises:
    """What the attributes of parameters promise is verified on request, and the one who broke it is named."""

    def test_a_matrix_that_is_not_symmetric(self) -> None:
        data = QP.data(1, (4,))
        data["Q"][2, 0, 1] += 0.5
        QP.layer()(**data)
        with pytest.raises(dl.InputError, match=r"`Q` of instance 2 is promised psd and is not: off by 0\.5"):
            QP.layer(check_inputs=True)(**data)

    def test_a_matrix_that_is_indefinite(self) -> None:
        data = QP.data(1)
        data["Q"] = data["Q"] - 10 * torch.eye(5, dtype=torch.float64)
        with pytest.raises(dl.InputError, match="`Q` is promised psd and is not"):
            QP.layer(check_inputs=True)(**data)

    @pytest.mark.parametrize(
        ("program", "parameter", "promise"),
        [("portfolio", "d", "nonneg"), ("mpc", "u_max", "nonneg"), ("nearest_correlation", "C", "symmetric")],
    )
    def test_other_attributes(self, program: str, parameter: str, promise: str) -> None:
        case = next(c for c in CASES if c.name == program)
        layer, data = case.layer(check_inputs=True), case.data(1, (3,))
        layer(**data)
        data[parameter].view(3, -1)[1, 1 if promise == "symmetric" else 0] -= 3
        with pytest.raises(dl.InputError, match=f"`{parameter}` of instance 1 is promised {promise} and is not"):
            layer(**data)

    def test_rounding_is_no_breach(self) -> None:
        data = QP.data(1)
        root = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        QP.layer(check_inputs=True)(**(data | {"Q": 1e3 * root @ root.mT}))

    def test_numbers_that_are_not_finite(self) -> None:
        data = QP.data(1, (3,))
        data["h"][1, 0] = torch.nan
        with pytest.raises(dl.LayerError, match=r"(?s)`h`.* instance 1"):
            QP.layer(check_inputs=True)(**data)
        data = QP.data(1, (3,))
        data["Q"][1, 0, 0] = torch.nan
        with pytest.raises(dl.LayerError, match=r"(?s)`Q`.* instance 1"):
            QP.layer(check_inputs=True)(**data)


def test_settings_are_attributes() -> None:
    case = next(c for c in CASES if c.name == "savi")
    layer, data = case.layer(), case.data(64)
    reference = layer(**data).mu
    layer.max_iterations = 1
    with pytest.raises(dl.SolveError, match="max_iterations"):
        layer(**data)
    layer.max_iterations = None
    assert torch.equal(layer(**data).mu, reference)
