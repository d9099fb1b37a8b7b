"""Smooth local problems and systems of equations: what a solver and an adjoint know of them.

A local problem: x is a stationary point of f subject to h(x) = 0 and g(x) <= 0. With the Lagrangian

    L(x, nu, lambda) = f(x) + nu'h(x) + lambda'g(x),    lambda >= 0,

the point is w = (x, nu, lambda) and its residual F(w; theta) = (grad_x L, h, c), where complementarity is stated by the
active set: c_i = g_i for the inequalities whose multiplier exceeds the slack, and lambda_i for the others. A root
problem: the point is (x,) and F is the function itself, with as many equations as variables.

The functions are written for a batch: x is (*batch, N), the data have leading dimensions that broadcast with it, and
instance b of the result depends on instance b of the arguments alone. The start chooses the branch. It is data (it has
a batch, and may be mapped over), but F does not hold it: its derivative through the theorem is zero.

Reference: Nocedal and Wright, Numerical Optimization, 2006, chapters 11 and 12; Krantz and Parks, The Implicit Function
Theorem, 2002.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from typing import Self

import torch
from torch import Tensor

from declarative.runtime import derivatives
from declarative.runtime.conditions import Conditions, condition_number, rank_and_curvature, smallest_margin
from declarative.runtime.errors import InputError
from declarative.runtime.lanczos import extreme_eigenvalues
from declarative.runtime.linear_solve import linear_solve
from declarative.runtime.problem import Point, Problem
from declarative.runtime.status import Status
from declarative.runtime.transforms import values_are_hidden

BatchedFunction = Callable[..., Tensor]

DENSE_LIMIT = 512
"""Variables beyond which the conditions of a problem without constraints are measured by products with its Hessian."""

LANCZOS_STEPS = 100

KINKS = (
    "if an extern has kinks, as ReLU, abs and max have, the solver stalls at them: expected a module that is twice "
    "differentiable, with Softplus, SiLU or Tanh in place of ReLU"
)
NO_DESCENT = (
    "the violation of the constraints goes no lower in the neighbourhood that this start leads to; whether a point "
    "elsewhere satisfies them is not known: try another start"
)


class SmoothProblem(Problem):
    """Functions of variables, tensors and weights, with a start; the common part of local and root problems."""

    def __init__(
        self, start: Tensor, tensors: Sequence[Tensor], core_ranks: Sequence[int], weights: Sequence[Tensor]
    ) -> None:
        if len(tensors) != len(core_ranks):
            raise InputError(f"expected one core rank per tensor, found {len(core_ranks)} for {len(tensors)} tensors")
        if start.dim() == 0:
            raise InputError("expected a start of shape (*batch, N), found a scalar")
        self._tensors = (*tensors, *weights, start)
        self._core_ranks = (*core_ranks, *(w.dim() for w in weights), 1)
        self._weight_count = len(weights)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors, the weights, and the start last."""
        return self._tensors

    @property
    def core_ranks(self) -> tuple[int, ...]:
        return self._core_ranks

    @property
    def start(self) -> Tensor:
        """Where the solver begins; (*batch, N), its batch broadcasting with the data's."""
        return self._tensors[-1]

    @property
    def size(self) -> int:
        """N, the number of variables of one instance."""
        return self.start.shape[-1]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        changed = copy(self)
        changed._tensors = tuple(tensors)
        return changed

    def with_start(self, start: Tensor) -> Self:
        return self.with_tensors((*self._tensors[:-1], start))

    def flattened(self) -> Self:
        """The same batch with one leading dimension for all data of an instance; what is wholly shared stays shared."""
        batch = self.batch_shape
        flat = []
        for tensor, rank in zip(self._tensors, self._core_ranks, strict=True):
            core = tensor.shape[tensor.dim() - rank :]
            if tensor.dim() > rank or tensor is self.start:
                tensor = tensor.expand(*batch, *core).reshape(batch.numel(), *core)
            flat.append(tensor)
        return self.with_tensors(flat)

    def take(self, index: Tensor) -> Self:
        """The instances ``index`` of a flattened batch."""
        pairs = zip(self._tensors, self._core_ranks, strict=True)
        return self.with_tensors([t[index] if t.dim() > rank else t for t, rank in pairs])

    @abstractmethod
    def residual(self, point: Point) -> Point: ...

    def remark(self, at: tuple[int, ...], status: Status) -> str:
        return KINKS if self._weight_count and status in (Status.INACCURATE, Status.MAX_ITERATIONS) else ""

    def _evaluate(self, function: BatchedFunction, x: Tensor) -> Tensor:
        arguments, ranks = (x, *self._tensors[:-1]), (1, *self._core_ranks[:-1])
        return _over_weights(function, arguments, ranks, len(arguments) - self._weight_count)


class LocalProblem(SmoothProblem):
    """A stationary point of f(x) subject to h(x) = 0 and g(x) <= 0, on the branch that the start leads to.

    ``function(x, *tensors, *weights)`` is f: (*batch), for x (*batch, N); ``equalities`` and ``inequalities`` have
    the same arguments and return h (*batch, p) and g (*batch, m). ``start``: (*batch, N). ``core_ranks``: for each of
    ``tensors`` the number of its trailing dimensions that belong to one instance. ``weights``: tensors that the batch
    shares, such as an extern's parameters. Raises `InputError` where these do not fit together.
    """

    def __init__(
        self,
        function: BatchedFunction,
        *,
        start: Tensor,
        tensors: Sequence[Tensor],
        core_ranks: Sequence[int],
        equalities: BatchedFunction | None = None,
        inequalities: BatchedFunction | None = None,
        weights: Sequence[Tensor] = (),
    ) -> None:
        super().__init__(start, tensors, core_ranks, weights)
        self._function = function
        self._equalities = equalities
        self._inequalities = inequalities

    def point_sizes(self) -> tuple[int, ...]:
        x = self.start.expand(*self.batch_shape, self.size)
        return self.size, self.equality(x).shape[-1], self.inequality(x).shape[-1]

    @property
    def constrained(self) -> bool:
        return self._equalities is not None or self._inequalities is not None

    def objective(self, x: Tensor) -> Tensor:
        """f(x); (*batch)."""
        return self._evaluate(self._function, x).expand(x.shape[:-1])

    def equality(self, x: Tensor) -> Tensor:
        """h(x); (*batch, p), with p = 0 where there is none."""
        return self._constraint(self._equalities, x)

    def inequality(self, x: Tensor) -> Tensor:
        """g(x); (*batch, m), with m = 0 where there is none."""
        return self._constraint(self._inequalities, x)

    def lagrangian(self, x: Tensor, nu: Tensor, lam: Tensor) -> Tensor:
        """L = f + nu'h + lambda'g; (*batch)."""
        value = self.objective(x)
        if self._equalities is not None:
            value = value + (nu * self.equality(x)).sum(-1)
        if self._inequalities is not None:
            value = value + (lam * self.inequality(x)).sum(-1)
        return value

    def residual(self, point: Point) -> Point:
        x, nu, lam = point
        stationarity = derivatives.gradient(lambda y: self.lagrangian(y, nu, lam), x)
        g = self.inequality(x)
        return stationarity, self.equality(x), torch.where(_active(g, lam), g, lam)

    def active(self, point: Point) -> Tensor:
        """The active inequalities: those whose multiplier is positive and exceeds the slack; (*batch, m), bool."""
        return _active(self.inequality(point[0]), point[2])

    def hessian(self, point: Point) -> Tensor:
        """Second derivatives of the Lagrangian by x; (*batch, N, N)."""
        x, nu, lam = point
        return derivatives.hessian(lambda y: self.lagrangian(y, nu, lam), x)

    def remark(self, at: tuple[int, ...], status: Status) -> str:
        return NO_DESCENT if status is Status.INFEASIBLE else super().remark(at, status)

    def feasibility(self) -> LocalProblem:
        """The problem of least violation, (|h|^2 + |max(g, 0)|^2) / 2, without constraints, from the same start."""
        equalities, inequalities = self._equalities, self._inequalities

        def violation(x: Tensor, *arguments: Tensor) -> Tensor:
            total = torch.zeros_like(x[..., 0])
            if equalities is not None:
                total = total + equalities(x, *arguments).square().sum(-1) / 2
            if inequalities is not None:
                total = total + inequalities(x, *arguments).clamp_min(0).square().sum(-1) / 2
            return total

        changed = copy(self)
        changed._function, changed._equalities, changed._inequalities = violation, None, None
        return changed

    def jacobian(self, point: Point) -> Tensor:
        """dF/dw; (*batch, N + p + m, N + p + m). Symmetric where there are no inequalities (m = 0)."""
        x, nu, lam = point
        equality = derivatives.jacobian(self.equality, x)
        g, inequality = derivatives.value_and_jacobian(self.inequality, x)
        active = _active(g, lam)
        corner = torch.diag_embed(torch.cat([torch.zeros_like(nu), (~active).to(x.dtype)], -1))
        upper = torch.cat([self.hessian(point), equality.mT, inequality.mT], -1)
        lower = torch.cat([torch.cat([equality, torch.where(active[..., None], inequality, 0)], -2), corner], -1)
        return torch.cat([upper, lower], -2)

    def complementarity(self, point: Point) -> tuple[Tensor, Tensor]:
        return smallest_margin(point[2], -self.inequality(point[0]))

    def conditions(self, point: Point) -> Conditions:
        """The theorem's conditions; rows are those of g."""
        if not self.constrained and self.size > DENSE_LIMIT:
            return self._conditions_by_products(point)
        x, nu, lam = point
        equality = derivatives.jacobian(self.equality, x)
        g, inequality = derivatives.value_and_jacobian(self.inequality, x)
        hessian, active = self.hessian(point), _active(g, lam)
        rank, curvature = rank_and_curvature(hessian, torch.cat([equality, inequality * active[..., None]], -2))
        margin, row = smallest_margin(lam, -g)
        return Conditions(
            licq_rank=rank,
            licq_rows=active.sum(-1) + nu.shape[-1],
            complementarity=margin,
            complementarity_row=row,
            second_order=curvature,
            kkt_residual=self._relative(point, hessian, g),
            adjoint_condition=condition_number(self.jacobian(point)),
        )

    def _conditions_by_products(self, point: Point) -> Conditions:
        """`conditions` of many free variables, with the ends of the Hessian's spectrum as the Lanczos process sees
        them."""
        x = point[0]
        product = derivatives.hessian_product(self.objective, x)
        smallest, highest = extreme_eigenvalues(product, x, LANCZOS_STEPS)
        extent = torch.maximum(smallest.abs(), highest.abs())
        floor = self.size * torch.finfo(x.dtype).eps * extent
        definite = smallest > floor
        none = torch.zeros(x.shape[:-1], dtype=torch.int64, device=x.device)
        return Conditions(
            licq_rank=none,
            licq_rows=none,
            complementarity=torch.full_like(smallest, torch.inf),
            complementarity_row=none - 1,
            second_order=smallest,
            kkt_residual=largest(derivatives.gradient(self.objective, x)) / largest(product(x)).clamp_min(1),
            adjoint_condition=torch.where(definite, extent / torch.where(definite, smallest, 1), torch.inf),
        )

    def relative_residual(self, point: Point) -> Tensor:
        """Largest entry of the KKT residual, stationarity relative to its terms; (*batch)."""
        return self._relative(point, self.hessian(point), self.inequality(point[0]))

    def _relative(self, point: Point, hessian: Tensor, g: Tensor) -> Tensor:
        x, nu, lam = point
        slope, h, _ = self.residual(point)
        complementarity = lam * g
        curved = (hessian @ x[..., None])[..., 0]
        steep = (x == 0) & ~slope.isfinite()
        if values_are_hidden(steep) or bool(steep.any()):
            # An entry that underflows to the end of its domain, as of y log y: where the objective rises at the least
            # positive number already, the entry is there.
            least = torch.where(steep, torch.finfo(x.dtype).tiny, x)
            rising = self.residual((least, nu, lam))[0]
            slope = torch.where(steep, rising.clamp_max(0), slope)
            hessian = torch.where(steep[..., None, :] | steep[..., :, None], 0, hessian)
            curved = (hessian @ x[..., None])[..., 0]
        terms = torch.maximum(largest(curved), largest(torch.cat([nu, lam], -1))).clamp_min(1)
        violation = torch.cat([slope / terms[..., None], h, g.clamp_min(0), complementarity / terms[..., None]], -1)
        return largest(violation)

    def _constraint(self, function: BatchedFunction | None, x: Tensor) -> Tensor:
        if function is None:
            return x[..., :0]
        value = self._evaluate(function, x)
        return value.expand(*x.shape[:-1], value.shape[-1])


class RootProblem(SmoothProblem):
    """A root of F(x) = 0, N equations in N variables, on the branch that the start leads to.

    ``function(x, *tensors, *weights)`` is F: (*batch, N), for x (*batch, N). ``fixed_point`` promises that
    F(x) = x - g(x), entry by entry. The other arguments are those of `LocalProblem`. Where the Jacobian dF/dx is
    singular at the root (the unit circle at (1, 0)), no differentiable branch goes through it: the solver reports such
    an instance as inaccurate, and the adjoint gives the least-norm solution.
    """

    def __init__(
        self,
        function: BatchedFunction,
        *,
        start: Tensor,
        tensors: Sequence[Tensor],
        core_ranks: Sequence[int],
        weights: Sequence[Tensor] = (),
        fixed_point: bool = False,
    ) -> None:
        super().__init__(start, tensors, core_ranks, weights)
        self._function = function
        self._fixed_point = fixed_point

    @property
    def fixed_point(self) -> bool:
        """Whether the system is stated as x - g(x) = 0."""
        return self._fixed_point

    def point_sizes(self) -> tuple[int, ...]:
        return (self.size,)

    def residual(self, point: Point) -> Point:
        (x,) = point
        value = self._evaluate(self._function, x)
        if value.shape[-1] != self.size:
            raise InputError(
                f"expected as many equations as variables, found {value.shape[-1]} equations in {self.size} variables"
            )
        return (value.expand(x.shape),)

    def jacobian(self, x: Tensor) -> Tensor:
        """dF/dx; (*batch, N, N)."""
        return self.linearised(x)[1]

    def linearised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """F(x), (*batch, N), and dF/dx, (*batch, N, N)."""
        return derivatives.value_and_jacobian(lambda y: self.residual((y,))[0], x)

    def is_regular(self, x: Tensor) -> Tensor:
        """Whether the Jacobian at a root is regular beyond the reach of rounding; (*batch), bool.

        Rounding leaves a root uncertain by d = J^-1 e, where e is the rounding error of F. The Jacobian is told from
        a singular one if over that distance, along its weakest direction, it stays the same to one percent: |J^-1
        (J(x + d) - J(x))| <= 0.01.
        """
        matrix = self.jacobian(x)
        if x.numel() == 0:
            return torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)
        finite = matrix.isfinite().all(-1).all(-1)
        matrix = torch.where(finite[..., None, None], matrix, 0)
        _, singular, axes = torch.linalg.svd(matrix)
        rounding = 4 * torch.finfo(x.dtype).eps * largest((matrix @ x[..., None])[..., 0]).clamp_min(1)
        weakest = torch.where(singular[..., -1] > 0, singular[..., -1], 1)
        moved = self.jacobian(x + (rounding / weakest)[..., None] * axes[..., -1, :])
        change = linear_solve(matrix, (moved - matrix).movedim(-1, 0)).abs().amax((0, -1))
        return finite & condition_number(matrix).isfinite() & (change <= 0.01)

    def complementarity(self, point: Point) -> tuple[Tensor, Tensor]:
        return smallest_margin(point[0][..., :0], point[0][..., :0])

    def conditions(self, point: Point) -> Conditions:
        """The theorem's one condition, a regular Jacobian: its rank, with infinite ``adjoint_condition`` where it
        fails."""
        (x,) = point
        value, matrix = self.linearised(x)
        regular = self.is_regular(x)
        rank, _ = rank_and_curvature(torch.zeros_like(matrix), matrix)
        unbounded = torch.full_like(rank, torch.inf, dtype=x.dtype)
        terms = largest((matrix @ x[..., None])[..., 0]).clamp_min(1)
        return Conditions(
            licq_rank=torch.where(regular, rank, rank.clamp_max(x.shape[-1] - 1)),
            licq_rows=torch.full_like(rank, x.shape[-1]),
            complementarity=unbounded,
            complementarity_row=torch.full_like(rank, -1),
            second_order=unbounded,
            kkt_residual=largest(value) / terms,
            adjoint_condition=torch.where(regular, condition_number(matrix), torch.inf),
        )


def _active(g: Tensor, lam: Tensor) -> Tensor:
    return lam.detach() > (-g.detach()).clamp_min(0)


def largest(entries: Tensor) -> Tensor:
    """Largest magnitude over the last dimension, zero where that is empty; (*batch)."""
    return entries.abs().amax(-1) if entries.shape[-1] else entries.new_zeros(entries.shape[:-1])


def _over_weights(
    function: BatchedFunction, arguments: Sequence[Tensor], ranks: Sequence[int], first_weight: int
) -> Tensor:
    """The function's value; where weights have a batch of their own (an ensemble), by mapping over its dimensions."""
    leads = [a.dim() - rank for a, rank in zip(arguments, ranks, strict=True)]
    if not any(leads[first_weight:]):
        return function(*arguments)
    outermost = max(leads)
    size = max(a.shape[0] for a, lead in zip(arguments, leads, strict=True) if lead == outermost)
    mapped: list[Tensor] = []
    dims: list[int | None] = []
    for argument, lead in zip(arguments, leads, strict=True):
        own = lead == outermost and argument.shape[0] == size
        dims.append(0 if own else None)
        mapped.append(argument.squeeze(0) if lead == outermost and not own else argument)

    def inner(*inner_arguments: Tensor) -> Tensor:
        return _over_weights(function, inner_arguments, ranks, first_weight)

    value: Tensor = torch.func.vmap(inner, in_dims=tuple(dims))(*mapped)
    return value
