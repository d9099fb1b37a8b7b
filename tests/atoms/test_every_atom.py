"""One test per property, each over every function of the language.

What a function says of itself (shape, sign, curvature, monotonicity, definiteness, expansion, pieces) is held against
samples of its torch value, the value against cvxpy, scipy or numpy, the gradient against finite differences. Cases are
made from the functions' own signatures: all shapes that fit, with every sign, constant or variable.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import pytest
import scipy.special
import torch

from declarative.atoms import ATOMS
from declarative.ir.atom import Atom, AtomError, Operand
from declarative.ir.curvature import Curvature, Monotonicity, Sign
from declarative.ir.expression import (
    At,
    Call,
    Constant,
    Expression,
    Index,
    Let,
    Parameter,
    SizeValue,
    Sum,
    Symbol,
    Variable,
    flat,
)
from declarative.ir.shape import Size
from declarative.ir.traverse import substitute_sizes
from declarative.runtime import functions

every_atom = pytest.mark.parametrize("atom", ATOMS.values(), ids=list(ATOMS))

SHAPES = ((), (3,), (2,), (2, 3), (3, 3))
SIGNS = {
    "any": (frozenset(), frozenset({"nonneg"}), frozenset({"nonpos"})),
    "nonneg": (frozenset(), frozenset({"nonneg"})),
    "positive": (frozenset({"nonneg"}),),
    "psd": (frozenset({"psd"}),),
    "symmetric": (frozenset({"symmetric"}), frozenset({"psd"}), frozenset({"nsd"})),
}
NUMBERS = {"number": (2.0, 3.0, 0.5, 1.5, -1.0, -2.0, -0.5, 1.0, 0.0), "positive number": (0.7, 2.0)}
SIZES = (1, 2, 3, 6, 9)

WITHOUT_CVXPY = {
    "tanh": np.tanh,
    "sigmoid": scipy.special.expit,
    "softplus": lambda x: np.logaddexp(0, x),
    "sin": np.sin,
    "cos": np.cos,
    "erf": scipy.special.erf,
    "inv": np.linalg.inv,
    "cholesky": np.linalg.cholesky,
    "det": np.linalg.det,
}


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@dataclass(frozen=True)
class Case:
    """A call and where its symbols are sampled: the domain of each symbol by name."""

    call: Call
    domains: dict[str, str]

    def samples(self, batch: tuple[int, ...], seed: int = 0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return {
            arg.name: sample(arg, self.domains[arg.name], batch, generator)
            for arg in self.call.args
            if isinstance(arg, Symbol)
        }

    def value(self, samples: dict[str, torch.Tensor]) -> torch.Tensor:
        return evaluate(self.call, samples)

    def __str__(self) -> str:
        return f"{self.call.atom.name}{[(str(a.shape), type(a).__name__, a.sign.value) for a in self.call.args]}"


def domain(atom: Atom, position: int) -> str:
    return atom.domain[min(position, len(atom.domain) - 1)] if atom.domain else "any"


def counts(atom: Atom) -> tuple[int, ...]:
    most = len(atom.arguments)
    return (most, most + 1) if atom.variadic else tuple(range(most - atom.optional, most + 1))


def candidates(atom: Atom, position: int, *, only_variables: bool) -> Iterator[Expression]:
    kind = domain(atom, position)
    if kind == "size":
        yield from (SizeValue(Size(size)) for size in SIZES)
        return
    if kind in NUMBERS:
        yield from map(Constant, NUMBERS[kind])
        return
    choices = [*itertools.product(SHAPES, SIGNS[kind])]
    if kind == "any":
        choices += [((3, 3), frozenset({"psd"})), ((3, 3), frozenset({"nsd"}))]
    for shape, attributes in choices:
        if kind in ("psd", "symmetric") and shape != (3, 3):
            continue
        sizes = tuple(map(Size, shape))
        yield Variable(f"x{position}", sizes, attributes)
        if not only_variables:
            yield Parameter(f"x{position}", sizes, attributes)


def cases(atom: Atom, *, only_variables: bool = False) -> list[Case]:
    """Every call that fits, and every one of the same argument given again and again."""
    found = []
    for count in counts(atom):
        names = {f"x{i}": domain(atom, i) for i in range(count)}
        choices = [list(candidates(atom, i, only_variables=only_variables or i > 1)) for i in range(count)]
        for args in itertools.product(*choices):
            try:
                found.append(Case(Call(atom, args), names))
            except AtomError:
                continue
        kinds = [domain(atom, i) for i in range(count)]
        if count == 1 or not all(kind in SIGNS for kind in kinds):
            continue
        strictest = max(range(count), key=lambda i: list(SIGNS).index(kinds[i]))
        for arg in choices[strictest]:
            try:
                found.append(Case(Call(atom, (arg,) * count), {f"x{strictest}": kinds[strictest]}))
            except AtomError:
                continue
    assert found, f"no arguments fit {atom.name}"
    return found


def plain_cases(atom: Atom) -> list[Case]:
    """One case for each fitting choice of shapes."""
    seen: dict[tuple[object, ...], Case] = {}
    for case in cases(atom, only_variables=True):
        key = tuple(a.shape if isinstance(a, Symbol) else a for a in case.call.args)
        seen.setdefault(key, case)
    return list(seen.values())


def sample(symbol: Symbol, kind: str, batch: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    shape = tuple(size.constant for size in symbol.shape)
    x = 1.5 * torch.randn((*batch, *shape), generator=generator)
    if kind == "symmetric":
        x = x + x.mT
    if "psd" in symbol.attributes or "nsd" in symbol.attributes:
        x = x @ x.mT + 0.3 * torch.eye(shape[-1])
        return -x if "nsd" in symbol.attributes else x
    if kind in ("nonneg", "positive") or "nonneg" in symbol.attributes:
        x = x.abs() + (0.2 if kind == "positive" else 0.0)
    return -x.abs() if "nonpos" in symbol.attributes else x


def evaluate(expression: Expression, values: dict[str, torch.Tensor]) -> torch.Tensor:
    """An expression of numeric sizes by the torch source of its functions."""
    match expression:
        case Symbol():
            return values[expression.name]
        case Constant(value):
            tensor = torch.tensor(list(flat(value)))
            return tensor.reshape(tuple(size.constant for size in expression.shape))
        case SizeValue(size):
            return torch.tensor(float(size.constant))
        case Let(_, body):
            return evaluate(body, values)
        case Index(base, subscripts):
            index = [
                s.index.constant if isinstance(s, At) else slice(s.first.constant, s.last.constant + 1)
                for s in subscripts
            ]
            return evaluate(base, values)[(..., *index, *[slice(None)] * (base.rank - len(index)))]
        case Sum(body, (bound,)):
            steps = range(bound.first.constant, bound.last.constant + 1)
            return sum(evaluate(substitute_sizes(body, {bound.name: t}), values) for t in steps)
        case Call(atom, args):
            operands, scope = [], {"torch": torch, "functions": functions}
            for i, arg in enumerate(args):
                if isinstance(arg, SizeValue):
                    operands.append(Operand(str(arg.size.constant), (), is_number=True))
                    continue
                scope[f"v{i}"] = evaluate(arg, values)
                operands.append(Operand(f"v{i}", arg.shape))
            return eval(atom.torch(*operands), scope)
    raise TypeError(expression)


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@every_atom
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=str)
def test_shape_is_that_of_the_value_on_every_batch(atom: Atom, batch: tuple[int, ...]) -> None:
    for case in plain_cases(atom):
        expected = tuple(size.constant for size in case.call.shape)
        samples = case.samples(batch)
        assert case.value(samples).shape == (*batch, *expected), case
        for name, alone in case.samples(()).items():
            mixed = {**samples, name: alone}
            reached = batch if len(samples) > 1 else ()
            assert case.value(mixed).shape == (*reached, *expected), (case, name)


@every_atom
def test_batch_equals_loop(atom: Atom) -> None:
    for case in plain_cases(atom):
        samples = case.samples((4,))
        together = case.value(samples)
        each = torch.stack([case.value({name: x[i] for name, x in samples.items()}) for i in range(4)])
        assert close(together, each), case


@every_atom
def test_value_agrees_with_the_oracle(atom: Atom) -> None:
    for case in plain_cases(atom):
        samples = case.samples(())
        arguments = [np.asarray(evaluate(arg, samples)) for arg in case.call.args]
        if atom.name in WITHOUT_CVXPY:
            expected = WITHOUT_CVXPY[atom.name](*arguments)
        else:
            expected = atom.to_cvxpy(cp, *[cp.Constant(a) for a in arguments]).value
        assert np.allclose(case.value(samples), expected, rtol=1e-9, atol=1e-9), case


@every_atom
def test_sign_holds_on_samples(atom: Atom) -> None:
    for case in cases(atom):
        value = case.value(case.samples((200,)))
        assert not case.call.sign.is_nonneg or bool((value >= -1e-9).all()), case
        assert not case.call.sign.is_nonpos or bool((value <= 1e-9).all()), case


@every_atom
def test_curvature_holds_on_samples(atom: Atom) -> None:
    for case in cases(atom):
        curvature = case.call.curvature
        if curvature in (Curvature.UNKNOWN, Curvature.CONSTANT):
            continue
        a, b = case.samples((300,), seed=1), case.samples((300,), seed=2)
        fixed = {arg.name for arg in case.call.args if isinstance(arg, Parameter)}
        b = {name: a[name] if name in fixed else x for name, x in b.items()}
        middle = case.value({name: (a[name] + b[name]) / 2 for name in a})
        chord = (case.value(a) + case.value(b)) / 2
        slack = 1e-9 * (1 + chord.abs())
        assert not curvature.is_convex or bool((middle <= chord + slack).all()), case
        assert not curvature.is_concave or bool((middle >= chord - slack).all()), case


@every_atom
def test_monotonicity_holds_on_samples(atom: Atom) -> None:
    for case in cases(atom):
        claims = atom.monotonicity(*case.call.args)
        assert len(claims) == len(case.call.args)
        names = [arg.name for arg in case.call.args if isinstance(arg, Symbol)]
        if len(set(names)) < len(names):
            continue
        for arg, claim in zip(case.call.args, claims, strict=True):
            if claim is Monotonicity.NONE or not isinstance(arg, Symbol):
                continue
            low = case.samples((200,))
            step = torch.rand(low[arg.name].shape, generator=torch.Generator().manual_seed(3))
            moved = low[arg.name] + step
            moved = moved.clamp(max=0) if "nonpos" in arg.attributes else moved
            before, after = case.value(low), case.value({**low, arg.name: moved})
            rise = after - before if claim is Monotonicity.INCREASING else before - after
            assert bool((rise >= -1e-9).all()), (case, arg.name)


@every_atom
def test_cvxpy_knows_nothing_that_is_not_known_here(atom: Atom) -> None:
    """Signs and curvature are as sharp as cvxpy's, on the same arguments."""
    for case in cases(atom):
        call = case.call
        symbols = {arg.name: as_cvxpy(arg) for arg in call.args if isinstance(arg, Symbol)}
        if len(symbols) < len([arg for arg in call.args if isinstance(arg, Symbol)]):
            continue
        arguments = [symbols[a.name] if isinstance(a, Symbol) else evaluate(a, {}).item() for a in call.args]
        try:
            theirs = atom.to_cvxpy(cp, *arguments)
        except NotImplementedError:
            pytest.skip("not a function of convex problems")
        except Exception:
            theirs = None
        if theirs is None:  # cvxpy refuses outright what has no curvature here
            assert call.curvature is Curvature.UNKNOWN, case
            continue
        assert not theirs.is_nonneg() or call.sign.is_nonneg, case
        assert not theirs.is_nonpos() or call.sign.is_nonpos or call.sign is Sign.ZERO, case
        assert not theirs.is_convex() or call.curvature.is_convex, case
        assert not theirs.is_concave() or call.curvature.is_concave, case


def as_cvxpy(symbol: Symbol) -> cp.Expression:
    names = {"psd": "PSD", "nsd": "NSD"}
    attributes = {names.get(a, a): True for a in symbol.attributes}
    kind = cp.Variable if isinstance(symbol, Variable) else cp.Parameter
    return kind(tuple(size.constant for size in symbol.shape), **attributes)


@every_atom
def test_gradient_agrees_with_finite_differences(atom: Atom) -> None:
    for case in plain_cases(atom):
        samples = case.samples((2,), seed=5)
        names = list(samples)

        def value(*tensors: torch.Tensor, case: Case = case, names: list[str] = names) -> torch.Tensor:
            kinds = [case.domains[name] for name in names]
            both = [(t + t.mT) / 2 if k in ("psd", "symmetric") else t for t, k in zip(tensors, kinds, strict=True)]
            return case.value(dict(zip(names, both, strict=True)))

        tensors = [x.requires_grad_() for x in samples.values()]
        assert torch.autograd.gradcheck(value, tensors), case
        if atom.smooth and value(*tensors).requires_grad:
            assert torch.autograd.gradgradcheck(value, tensors), case


@every_atom
def test_expansion_has_the_value_and_the_claims(atom: Atom) -> None:
    for case in cases(atom):
        expanded = atom.expand(*case.call.args)
        if expanded is None:
            continue
        assert expanded.shape == case.call.shape, case
        assert expanded.curvature is case.call.curvature, case
        samples = case.samples((5,))
        assert close(evaluate(expanded, samples), case.value(samples)), case


@every_atom
def test_pieces_have_the_value_for_their_maximum_or_minimum(atom: Atom) -> None:
    for case in cases(atom, only_variables=True):
        pieces = atom.pieces(*case.call.args)
        if pieces is None:
            continue
        convex = atom.intrinsic(*case.call.args) is Curvature.CONVEX
        samples = case.samples((5,))
        values = []
        for piece in pieces:
            assert piece.curvature.is_affine, case
            value = evaluate(piece, samples).expand(5, *[-1] * piece.rank) if piece.rank else evaluate(piece, samples)
            if case.call.rank == 0 and piece.rank:
                value = value.flatten(1).amax(1) if convex else value.flatten(1).amin(1)
            elif case.call.rank and not piece.rank:
                value = value[(..., *[None] * case.call.rank)]
            values.append(value)
        reduce = torch.maximum if convex else torch.minimum
        extreme = values[0]
        for value in values[1:]:
            extreme = reduce(extreme, value)
        assert close(extreme.expand_as(case.value(samples)), case.value(samples)), case


@every_atom
def test_claimed_semidefinite_is_semidefinite(atom: Atom) -> None:
    for case in cases(atom):
        call = case.call
        if call.rank != 2 or call.shape[0] != call.shape[1] or not atom.is_psd(*call.args):
            continue
        value = case.value(case.samples((50,)))
        assert close(value, value.mT), case
        assert bool((torch.linalg.eigvalsh(value) >= -1e-9).all()), case


@every_atom
def test_numbers_and_single_precision(atom: Atom) -> None:
    """A Python number may stand for a scalar beside a tensor, and float32 stays float32."""
    for case in plain_cases(atom):
        symbols = [arg for arg in case.call.args if isinstance(arg, Symbol)]
        samples = {name: x.float() for name, x in case.samples((2,)).items()}
        for written in itertools.product((False, True), repeat=len(symbols)):
            chosen = {s.name for s, w in zip(symbols, written, strict=True) if w}
            if any(s.shape for s in symbols if s.name in chosen) or len(chosen) == len(samples):
                continue
            scope = {"torch": torch, "functions": functions, **samples}
            operands, values = [], dict(samples)
            for arg in case.call.args:
                if isinstance(arg, Symbol) and arg.name not in chosen:
                    operands.append(Operand(arg.name, arg.shape))
                    continue
                number = 0.75 if isinstance(arg, Symbol) else evaluate(arg, {}).item()
                text = str(int(number)) if isinstance(arg, SizeValue) else str(number)
                operands.append(Operand(text, (), is_number=True))
                if isinstance(arg, Symbol):
                    values[arg.name] = torch.tensor(number, dtype=torch.float32)
            value = eval(atom.torch(*operands), scope)
            assert value.dtype is torch.float32, (case, chosen)
            assert torch.allclose(value, case.value(values).float(), rtol=1e-5, atol=1e-6, equal_nan=True), (
                case,
                chosen,
            )
