"""Hoisting and lifting: the same problem, with every coefficient affine in one vector of data, theta.

A conic solver's data depend on the parameters through an affine map if the problem is a *disciplined parametrized*
program (DPP): it is convex, and a parameter multiplies only what holds no parameter. Here this holds by construction.

Hoisting. A maximal sub-expression of parameters alone that is more than an affine use of bare parameters becomes one
entry of theta: ``(a * b) * norm1(x)`` has the entry ``a * b``, ``quad_form(x, inv(S))`` the entry ``inv(S)``.

Lifting. Under a parametric multiplier, and as a factor of a parametric matrix, an expression e with parameters of its
own is replaced by a new variable v: with ``v == e`` if e is affine, ``e <= v`` if convex, ``v <= e`` if concave, which
changes neither optimal value nor solution, since there the problem only gets worse as v moves away from e:

    rho * sum_squares(A @ x - b)      becomes      rho * sum_squares(v),  v == A @ x - b.

Multipliers are first carried inwards, through sums and products with constants, to the functions that they scale, so
that a quadratic objective stays one.

Reference: Agrawal, Amos, Barratt, Boyd, Diamond and Kolter, Differentiable convex optimization layers, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from declarative.atoms import ATOMS
from declarative.atoms.constants import number
from declarative.atoms.semidefinite_factor import SEMIDEFINITE_FACTOR
from declarative.canonical.instantiate import Instance, Relation
from declarative.canonical.parameters import is_affine_use, is_parametric, known_attributes
from declarative.ir.atom import AtomError
from declarative.ir.curvature import Curvature
from declarative.ir.definiteness import gram, is_nsd, is_psd
from declarative.ir.expression import Call, Constant, Expression, Index, Let, Parameter, Variable
from declarative.ir.traverse import walk, without_lets

ONE = Constant(1.0)


@dataclass(frozen=True)
class Entry:
    """One entry of theta: a parameter, or a sub-expression of parameters alone.

    ``symbol`` is what stands for it in the rewritten problem, with the sign and definiteness that are known of it.
    """

    symbol: Parameter
    expression: Expression


@dataclass(frozen=True)
class ParametricProgram:
    """A program at fixed sizes whose parameters are the entries of ``theta``, used as DPP demands.

    ``objective`` is minimised. ``variables`` are those declared; ``lifted`` and ``definitions`` came with lifting.
    """

    theta: tuple[Entry, ...]
    variables: tuple[Variable, ...]
    lifted: tuple[Variable, ...]
    objective: Expression
    relations: tuple[Relation, ...]
    definitions: tuple[Relation, ...]


def parametrise(instance: Instance, *, maximise: bool) -> ParametricProgram:
    """Hoist and lift. The objective is turned into that of a minimisation."""
    rewriting = _Rewriting(frozenset(symbol.name for symbol in (*instance.parameters, *instance.variables)))
    objective = _call("neg", instance.objective) if maximise else instance.objective
    objective = rewriting.rewrite(objective, quadratic=True)
    relations = tuple(
        replace(
            relation,
            left=rewriting.rewrite(relation.left),
            right=None if relation.right is None else rewriting.rewrite(relation.right),
        )
        for relation in instance.relations
    )
    return ParametricProgram(
        rewriting.theta(instance.parameters),
        instance.variables,
        tuple(rewriting.lifts.values()),
        objective,
        relations,
        tuple(rewriting.definitions),
    )


@dataclass
class _Rewriting:
    """The rewriting of one program: what it has hoisted and lifted so far, each sub-expression once."""

    taken: frozenset[str]
    entries: dict[Expression, Entry] = field(default_factory=dict)
    lifts: dict[Expression, Variable] = field(default_factory=dict)
    definitions: list[Relation] = field(default_factory=list)

    def theta(self, parameters: tuple[Parameter, ...]) -> tuple[Entry, ...]:
        """The parameters that are used as they are, in order of declaration, then what was hoisted."""
        bare = [self.entries[parameter] for parameter in parameters if parameter in self.entries]
        return (*bare, *(entry for entry in self.entries.values() if entry.symbol is not entry.expression))

    def rewrite(self, expression: Expression, *, quadratic: bool = False) -> Expression:
        """The expression with parameters used as DPP demands.

        ``quadratic``: only affine functions lie between it and the objective, so that a quadratic form in it may enter
        the objective's matrix.
        """
        if expression.is_constant:
            return self.hoist(expression)
        match expression:
            case Let(body=body):
                return self.rewrite(body, quadratic=quadratic)
            case Index(base=base):
                return replace(expression, base=self.rewrite(base, quadratic=quadratic))
            case Call():
                return self._rewrite_call(expression, quadratic)
        return expression

    def _rewrite_call(self, call: Call, quadratic: bool) -> Expression:
        match call.atom.name, call.args:
            case "mul", (a, b) if a.is_constant or b.is_constant:
                factor, scaled = (a, b) if a.is_constant else (b, a)
                return self._scaled(factor, scaled, quadratic)
            case "div", (a, b) if b.is_constant:
                return self._scaled(_reciprocal(b), a, quadratic) if is_parametric(b) else self._plain(call, quadratic)
            case "matmul", (a, b) if a.is_constant or b.is_constant:
                return self._product(a, b)
            case "quad_form", (x, P) if not x.is_constant:
                return self._quadratic_form(x, P, quadratic)
            case "quad_over_lin", (x, y) if not y.is_constant:
                return _call("quad_over_lin", self.rewrite(x), self._free(y))
        expanded = _in_squares(call)
        return self._plain(call, quadratic) if expanded is None else self.rewrite(expanded, quadratic=quadratic)

    def _plain(self, call: Call, quadratic: bool) -> Call:
        """The same function of the rewritten arguments."""
        quadratic = quadratic and call.atom.intrinsic(*call.args) is Curvature.AFFINE
        return replace(call, args=tuple(self.rewrite(arg, quadratic=quadratic) for arg in call.args))

    def _product(self, a: Expression, b: Expression) -> Expression:
        """``a @ b`` where one factor is constant: the other must hold no parameter if this one does."""
        if a.is_constant:
            return _call("matmul", self.hoist(a), self._free(b) if is_parametric(a) else self.rewrite(b))
        return _call("matmul", self._free(a) if is_parametric(b) else self.rewrite(a), self.hoist(b))

    def _quadratic_form(self, x: Expression, P: Expression, quadratic: bool) -> Expression:
        """In the objective P enters as it is, singular or not; elsewhere by a factor, as a norm.

        Of P only the symmetric part counts, in both places.
        """
        if is_nsd(P) and not is_psd(P):
            return _call("neg", self._quadratic_form(x, _call("neg", P), quadratic))
        if not is_parametric(P):
            return _call("quad_form", self.rewrite(x), P)
        if quadratic:
            return _call("quad_form", self._free(x), self.hoist(P))
        return self._factored_form(x, without_lets(P))

    def _factored_form(self, x: Expression, P: Expression) -> Expression:
        """A form outside of the objective as squares: by the factors that P is written with, else by one computed.

        The former are exact for singular matrices too: ``F' @ F`` of few factors, and its sum with a diagonal.
        """
        match P:
            case Call(atom=atom, args=(a, b)) if atom.name == "add" and is_psd(a) and is_psd(b):
                return _call("add", self._factored_form(x, a), self._factored_form(x, b))
            case Call(atom=atom, args=(a, b)) if atom.name == "mul" and not a.shape and is_psd(a):
                return self._scaled(a, _call("quad_form", x, b), False)
            case Call(atom=atom, args=(v,)) if atom.name == "diag" and v.rank == 1:
                return _call("sum", self._scaled(v, _call("square", x), False))
            case Call(atom=atom, args=(a, b)) if atom.name == "matmul" and (found := gram(a, b)) is not None:
                outer, inner = found
                if inner is not None:
                    return self._factored_form(_call("matmul", outer, x), inner)
                return _call("sum_squares", self._product(outer, x))
        symmetric = _call("div", _call("add", P, _call("transpose", P)), Constant(2.0))
        return _call("sum_squares", self._product(Call(SEMIDEFINITE_FACTOR, (symmetric,)), x))

    def _scaled(self, factor: Expression, scaled: Expression, quadratic: bool) -> Expression:
        """``factor * scaled``, the constant factor carried inwards to what holds parameters itself."""
        if scaled.is_constant:
            return self.hoist(_call("mul", factor, scaled))
        if not is_parametric(factor):
            return _call("mul", factor, self.rewrite(scaled, quadratic=quadratic))
        match scaled:
            case Let(body=body):
                return self._scaled(factor, body, quadratic)
            case Call(atom=atom, args=(a, b)) if atom.name == "add":
                return _call("add", self._scaled(factor, a, quadratic), self._scaled(factor, b, quadratic))
            case Call(atom=atom, args=(a,)) if atom.name == "neg":
                return _call("neg", self._scaled(factor, a, quadratic))
            case Call(atom=atom, args=(a, b)) if atom.name == "mul" and a.is_constant:
                return self._scaled(_call("mul", factor, a), b, quadratic)
            case Call(atom=atom, args=(a, b)) if atom.name == "mul" and b.is_constant:
                return self._scaled(_call("mul", factor, b), a, quadratic)
            case Call(atom=atom, args=(a, b)) if atom.name == "div" and b.is_constant:
                return self._scaled(_call("div", factor, b), a, quadratic)
            case Call(atom=atom, args=(a,)) if atom.name == "sum" and not factor.shape:
                return _call("sum", self._scaled(factor, a, quadratic))
            case Call(atom=atom, args=(a, b)) if atom.name == "matmul" and a.is_constant and not factor.shape:
                return self._product(_call("mul", factor, a), b)
            case Call(atom=atom, args=(a, b)) if atom.name == "matmul" and b.is_constant and not factor.shape:
                return self._product(a, _call("mul", factor, b))
            case Call(atom=atom, args=(x, P)) if atom.name == "quad_form" and quadratic and is_parametric(P):
                return self._quadratic_form(x, _call("mul", factor, P), quadratic)
        expanded = _in_squares(scaled)
        if expanded is not None:
            return self._scaled(factor, expanded, quadratic)
        return _call("mul", self.hoist(factor), self._free(scaled, quadratic))

    def _free(self, expression: Expression, quadratic: bool = False) -> Expression:
        """The expression without parameters: as it is, with lifted arguments, or lifted as a whole."""
        rewritten = self.rewrite(expression, quadratic=quadratic)
        if not is_parametric(rewritten):
            return rewritten
        inner = without_lets(expression)
        if isinstance(inner, Call) and not inner.curvature.is_affine:
            lifted = self._with_lifted_arguments(inner)
            if lifted is not None:
                return lifted
        return self._lift(inner)

    def _with_lifted_arguments(self, call: Call) -> Call | None:
        """The same function of arguments without parameters; None where it does not take variables there."""
        if any(arg.curvature is Curvature.UNKNOWN for arg in call.args):
            return None
        try:
            shadow = replace(call, args=tuple(_stand_in(arg) if is_parametric(arg) else arg for arg in call.args))
        except AtomError:
            return None
        if shadow.curvature is not call.curvature:
            return None
        return replace(
            call, args=tuple(self._lift(arg) if is_parametric(arg) else self.rewrite(arg) for arg in call.args)
        )

    def _lift(self, expression: Expression) -> Variable:
        """A new variable that stands for the expression."""
        key = without_lets(expression)
        if key not in self.lifts:
            definition = self.rewrite(key)
            variable = Variable(self._unused("lifted", len(self.lifts)), expression.shape)
            self.lifts[key] = variable
            if key.curvature.is_affine:
                self.definitions.append(Relation(-1, 0, "equal", variable, definition))
            elif key.curvature is Curvature.CONVEX:
                self.definitions.append(Relation(-1, 0, "upper", definition, variable))
            else:
                self.definitions.append(Relation(-1, 0, "upper", variable, definition))
        return self.lifts[key]

    def hoist(self, expression: Expression) -> Expression:
        """A constant as numbers, as an affine use of bare parameters, or as one entry of theta."""
        if not is_parametric(expression):
            return without_lets(expression)
        if is_affine_use(expression):
            inner = without_lets(expression)
            for node in walk(inner):
                if isinstance(node, Parameter):
                    self.entries.setdefault(node, Entry(node, node))
            return inner
        key = without_lets(expression)
        if key not in self.entries:
            name = expression.name if isinstance(expression, Let) else self._unused("hoisted", len(self.entries))
            symbol = Parameter(name, expression.shape, known_attributes(expression))
            self.entries[key] = Entry(symbol, expression)
        return self.entries[key].symbol

    def _unused(self, stem: str, number: int) -> str:
        name = f"{stem}_{number}"
        return self._unused(f"{stem}_", number) if name in self.taken else name


def _call(name: str, *args: Expression) -> Expression:
    return Call(ATOMS[name], args)


def _reciprocal(expression: Expression) -> Expression:
    return _call("div", ONE, expression)


def _stand_in(argument: Expression) -> Variable:
    """A variable with the shape of the argument, to ask what a function makes of one."""
    return Variable("", argument.shape)


def _in_squares(expression: Expression) -> Expression | None:
    """``square``, ``sum_squares`` or ``quad_form`` for what means them; None for anything else.

    These are products, their traces, ``quad_over_lin`` with a constant divisor, and squares of a norm and of ``abs``.
    The last two are no mere convenience: as the square of a bound on the norm they would have a cone at its apex where
    the norm is zero, and no derivative there, though the problem has one.
    """
    if not isinstance(expression, Call):
        return None
    name, args = expression.atom.name, expression.args
    if name in ("mul", "matmul", "quad_over_lin") or (name == "trace" and not expression.curvature.is_affine):
        return expression.atom.expand(*args)
    if name == "square" or (name == "power" and number(args[1]) == 2.0):
        inner = without_lets(args[0])
        if isinstance(inner, Call) and inner.atom.name in ("norm2", "norm_fro"):
            return _call("sum_squares", *inner.args)
        if isinstance(inner, Call) and inner.atom.name == "abs":
            return _call("square", *inner.args)
    return None
