"""JAXopt's BoxOSQP, compiled and vectorised over the batch, with implicit differentiation, in float64.

Its adjoint system is solved by conjugate gradients on the normal equations to 1e-12, which is the most accurate of its
choices here. The data are converted at the border; the compilation is not counted.

Reference: Blondel et al., Efficient and modular implicit differentiation, 2022; Stellato et al., OSQP, 2020.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from benchmarks.candidates.candidate import Call, Candidate, Kind, UnavailableError
from benchmarks.cases import DOUBLE, Answer, Case, Program

LARGEST = 100
"""Variables beyond which a call takes seconds."""


def prepare(case: Case) -> Call:
    if case.dtype != DOUBLE or Program(*case.parameters).sizes[0] > LARGEST:
        raise UnavailableError(f"not tried beyond n = {LARGEST}: a call takes seconds")
    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxopt import BoxOSQP, linear_solve

    adjoint = partial(linear_solve.solve_normal_cg, tol=1e-12, maxiter=2000)
    solver = BoxOSQP(tol=1e-9, maxiter=4000, implicit_diff_solve=adjoint)

    def one(P: jax.Array, q: jax.Array, A: jax.Array, b: jax.Array, G: jax.Array, h: jax.Array) -> jax.Array:
        rows = jax.numpy.concatenate([A, G])
        upper = jax.numpy.concatenate([b, h])
        lower = jax.numpy.concatenate([b, jax.numpy.full_like(h, -jax.numpy.inf)])
        return solver.run(params_obj=(P, q), params_eq=rows, params_ineq=(lower, upper)).params.primal[0]

    @jax.jit
    def both(bar: jax.Array, *data: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        x, pull_back = jax.vjp(jax.vmap(one), *data)
        return x, pull_back(bar)

    def call() -> Answer:
        given = (jax.numpy.asarray(t.numpy()) for t in (case.cotangent, *case.repeated().parameters))
        x, gradients = jax.block_until_ready(both(*given))
        return Answer(torch.from_numpy(np.array(x)), tuple(torch.from_numpy(np.array(g)) for g in gradients))

    call()
    return call


LAYER = Candidate("JAXopt BoxOSQP", Kind.LAYER, prepare, "jaxopt")
