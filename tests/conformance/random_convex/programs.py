"""Random convex programs, each as text of the language and, apart from it, as a problem of cvxpy.

A program is drawn piece by piece: affine vectors of the variable, convex functions of them for the objective, and
constraints of several kinds that a known point satisfies, with room or without. What is drawn is the text, of which
there are few enough that most have been compiled before; the numbers come from a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cvxpy as cp
import numpy as np
from hypothesis import strategies as st

Array = np.ndarray
Choose = Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Drawn:
    """A program's text, the values of its parameters in order, and the same problem in cvxpy.

    ``strongly``: its objective is strongly convex in x, so that the solution is unique.
    """

    text: str
    values: dict[str, Array]
    problem: cp.Problem
    x: cp.Variable
    strongly: bool

    def __repr__(self) -> str:
        return f"{self.text}\n{self.values}"


@dataclass(frozen=True)
class Affine:
    """A vector that is affine in the variable; ``size`` as the language writes it."""

    text: str
    value: Any
    size: str = "n"


@dataclass
class Writer:
    """What has been written of a program so far."""

    n: int
    choose: Choose
    random: np.random.Generator
    nonneg: bool
    whole: bool
    declarations: list[str] = field(default_factory=list)
    values: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.x = cp.Variable(self.n, nonneg=self.nonneg)
        start = self.numbers(self.n)
        self.x.value = np.abs(start) + 0.5 if self.nonneg else start

    def numbers(self, *shape: int) -> Array:
        """Normal numbers, or whole ones, of which ties and degenerate vertices are made."""
        drawn = self.random.normal(size=shape)
        return np.asarray(np.round(1.5 * drawn) if self.whole else drawn)

    def param(self, value: Array | float, *sizes: str, attribute: str = "") -> str:
        """Declares a parameter of sizes as the language writes them; its name."""
        value = np.asarray(value, dtype=float)
        name = f"p{len(self.values)}"
        assert value.ndim == len(sizes)
        shape = f"[{', '.join(sizes)}]" if sizes else ""
        self.declarations.append(f"param {name}{shape} {attribute}".rstrip())
        self.values[name] = value
        return name

    def affine(self) -> Affine:
        """A vector of one of several kinds."""
        n, x = self.n, self.x
        kind = self.choose(["x", "x", "shifted", "image", "residual", "diff", "slice", "cumsum", "scaled"])
        if kind == "shifted":
            c = self.numbers(n)
            return Affine(f"x - {self.param(c, 'n')}", x - c)
        if kind in ("image", "residual"):
            rows = self.choose(["1", "2", "n+1"])
            count = n + 1 if rows == "n+1" else int(rows)
            A, b = self.numbers(count, n), self.numbers(count)
            if kind == "image":
                return Affine(f"{self.param(A, rows, 'n')} @ x", A @ x, rows)
            return Affine(f"{self.param(A, rows, 'n')} @ x - {self.param(b, rows)}", A @ x - b, rows)
        if kind == "diff" and n > 1:
            return Affine("diff(x)", x[1:] - x[:-1], "n-1")
        if kind == "slice" and n > 1:
            return Affine("x[1..n-1]", x[1:], "n-1")
        if kind == "cumsum":
            return Affine("cumsum(x)", np.tril(np.ones((n, n))) @ x)
        if kind == "scaled":
            d = self.numbers(n)
            return Affine(f"{self.param(d, 'n')} * x", cp.multiply(d, x))
        return Affine("x", x)

    def definite(self, size: int) -> Array:
        root = self.numbers(size, size)
        return np.asarray(root @ root.T + 0.5 * np.eye(size))

    def convex(self) -> tuple[str, Any]:
        """A convex function of the variable, as text and in cvxpy."""
        v = self.affine()
        functions: list[Callable[[], tuple[str, Any]]] = [
            lambda: (f"sum_squares({v.text})", cp.sum_squares(v.value)),
            lambda: (f"sum(({v.text})^2)", cp.sum(cp.square(v.value))),
            lambda: (f"norm1({v.text})", cp.norm1(v.value)),
            lambda: (f"sum(abs({v.text}))", cp.norm1(v.value)),
            lambda: (f"norm2({v.text})", cp.norm2(v.value)),
            lambda: (f"norm_inf({v.text})", cp.norm_inf(v.value)),
            lambda: (f"max({v.text})", cp.max(v.value)),
            lambda: (f"-min({v.text})", -cp.min(v.value)),
            lambda: (f"sum(pos({v.text}))", cp.sum(cp.pos(v.value))),
            lambda: (f"sum(maximum({v.text}, 1/2))", cp.sum(cp.maximum(v.value, 0.5))),
            lambda: (f"sum(huber({v.text}))", cp.sum(cp.huber(v.value))),
            lambda: (f"log_sum_exp({v.text})", cp.log_sum_exp(v.value)),
            lambda: (f"sum(exp({v.text}))", cp.sum(cp.exp(v.value))),
            lambda: (f"sum(logistic({v.text}))", cp.sum(cp.logistic(v.value))),
            lambda: (f"tv({v.text})", cp.tv(v.value) if v.value.size > 1 else cp.Constant(0)),
            lambda: (f"norm2({v.text})^2", cp.sum_squares(v.value)),
            lambda: self.quadratic(v),
            lambda: self.over_linear(v),
        ]
        if self.nonneg:
            functions += [
                lambda: ("-sum(log(x + 1))", -cp.sum(cp.log(self.x + 1))),
                lambda: ("-sum(sqrt(x))", -cp.sum(cp.sqrt(self.x))),
                lambda: ("-sum(entr(x))", -cp.sum(cp.entr(self.x))),
                lambda: ("-geo_mean(x)", -cp.geo_mean(self.x)),
                lambda: ("sum(inv_pos(x + 1))", cp.sum(cp.inv_pos(self.x + 1))),
                self.divergence,
            ]
        return self.choose(functions)()  # type: ignore[no-any-return]

    def quadratic(self, v: Affine) -> tuple[str, Any]:
        P = self.definite(v.value.size)
        name = self.param(P, v.size, v.size, attribute="psd")
        return f"quad_form({v.text}, {name})", cp.quad_form(v.value, cp.psd_wrap(P))

    def over_linear(self, v: Affine) -> tuple[str, Any]:
        d = float(np.abs(self.random.normal()) + 0.5)
        return f"quad_over_lin({v.text}, {self.param(d, attribute='nonneg')})", cp.sum_squares(v.value) / d

    def divergence(self) -> tuple[str, Any]:
        w = np.abs(self.numbers(self.n)) + 0.3
        return f"sum(kl_div(x, {self.param(w, 'n', attribute='nonneg')}))", cp.sum(cp.kl_div(self.x, w))

    def objective(self) -> tuple[str, Any, bool]:
        """A sum of terms with weights, and whether a multiple of the squares is one of them."""
        terms = [self.convex() for _ in range(self.choose([0, 1, 1, 2]))]
        text, value = "", cp.Constant(0)
        for term, expression in terms:
            weight = float(np.abs(self.random.normal()) + 0.2)
            form = self.choose(["{w} * {f}", "{f} * {w}", "{f}"])
            weighed = "{w}" in form
            name = self.param(weight, attribute="nonneg") if weighed else ""
            text += " + " + form.format(w=name, f=f"({term})")
            value = value + (weight if weighed else 1) * expression
        if self.choose([0, 1]) or not terms:
            c = self.numbers(self.n)
            text += self.choose([" + {c} @ x", " + x' @ {c}", " + sum({c} * x)"]).format(c=self.param(c, "n"))
            value = value + c @ self.x
        strongly = bool(self.choose([0, 1, 1]))
        if strongly:
            text += self.choose([" + sum_squares(x) / 2", " + 1/2 * sum(square(x))"])
            value = value + cp.sum_squares(self.x) / 2
        return text.removeprefix(" + "), value, strongly

    def constraint(self) -> tuple[str, list[Any]]:
        """One that the known point satisfies: with room, exactly, or, seldom, not at all."""
        kind = self.choose(["equal", "rows", "box", "total", "order", "function", "function", "absolute"])
        v = self.affine()
        at = np.asarray(v.value.value, dtype=float)
        room = self.choose([0.0, 0.5, 0.5, 0.5, 2.0, -1.5])
        if kind == "equal":
            text = self.choose(["{v} == {b}", "{b} == {v}", "{v} - {b} == 0"])
            return text.format(v=v.text, b=self.param(at, v.size)), [v.value == at]
        if kind == "rows":
            text = self.choose(["{v} <= {b}", "{b} >= {v}", "-({v}) >= -{b}", "2 * ({v}) <= 2 * {b}"])
            return text.format(v=v.text, b=self.param(at + room, v.size)), [v.value <= at + room]
        if kind == "box":
            low, high = at - abs(room), at + abs(room)
            text = f"{self.param(low, v.size)} <= {v.text} <= {self.param(high, v.size)}"
            return text, [v.value >= low, v.value <= high]
        if kind == "total":
            r = float(self.x.value.sum())
            text = self.choose(["sum(x) == {r}", "{r} == sum(x)", "mean(x) == {r} / n"])
            return text.format(r=self.param(r)), [cp.sum(self.x) == r]
        if kind == "order" and self.n > 1:
            r = float(np.max(np.diff(self.x.value))) + abs(room)
            return f"x[i+1] <= x[i] + {self.param(r)} for i in 0..n-2", [self.x[1:] <= self.x[:-1] + r]
        if kind == "absolute":
            r = float(np.abs(at).max()) + abs(room)
            return f"abs({v.text}) <= {self.param(r, attribute='nonneg')}", [cp.abs(v.value) <= r]
        text, value = self.convex()
        r = float(value.value) + room
        form = self.choose(["{f} <= {r}", "{r} >= {f}", "{f} - {r} <= 0", "-({f}) >= -{r}"])
        return form.format(f=text, r=self.param(r)), [value <= r]


@st.composite
def programs(draw: st.DrawFn) -> Drawn:
    """A random program with its data."""
    seed = draw(st.integers(0, 2**20))
    writer = Writer(
        n=draw(st.sampled_from([1, 2, 3, 4])),
        choose=lambda options: (
            draw(st.sampled_from(options)) if len(options) < 12 else options[draw(st.integers(0, len(options) - 1))]
        ),
        random=np.random.default_rng(seed),
        nonneg=draw(st.booleans()),
        whole=draw(st.sampled_from([False, False, False, True])),
    )
    objective, value, strongly = writer.objective()
    sense = draw(st.sampled_from(["minimize {}", "minimize {} + 3", "maximize -({})"]))
    lines, constraints = [], []
    for _ in range(draw(st.sampled_from([0, 1, 1, 2, 3]))):
        line, several = writer.constraint()
        lines.append(line)
        constraints += several
    if draw(st.sampled_from([False, True, True])):
        lines.append("-5 <= x <= 5")
        constraints += [writer.x >= -5, writer.x <= 5]
    declared = "\n".join(writer.declarations)
    variable = f"var x[n]{' nonneg' if writer.nonneg else ''}"
    body = "subject to\n" + "\n".join(f"  {line}" for line in lines) + "\n" if lines else ""
    text = (
        f"layer drawn\ndim n = {writer.n}\n{declared}\n{variable}\n{sense.format(objective)}\n{body}output x, value\n"
    )
    sign, shift = (-1, 0) if sense.startswith("max") else (1, 3 if sense.endswith("3") else 0)
    problem = cp.Problem(cp.Maximize(-value) if sign < 0 else cp.Minimize(value + shift), constraints)
    return Drawn(text, writer.values, problem, writer.x, strongly)
