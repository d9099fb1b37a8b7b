"""One square linear system, factored once and solved for many right-hand sides, transposed or not; dense or sparse.

Where the matrix is regular: LU with iterative refinement. Where it is singular to working accuracy: the least-norm
solution among those of least residual, by the truncated singular value decomposition (dense) or LSQR (sparse). A matrix
that is only badly scaled has the same tiny reciprocal condition number as a singular one; they are told apart by the
residual, which LU makes small for the former alone.

Reference: Golub and Van Loan, Matrix Computations, 4th ed., 2013, sections 3.5 and 5.5.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg

Array = np.ndarray[Any, np.dtype[np.float64]]

SINGULAR = 1e-11
"""Reciprocal condition number below which a matrix is taken for singular, and its singular values for zero."""

REFINEMENTS = 2


class Factored:
    """M = ``matrix`` (N, N), a numpy array or a scipy sparse matrix, finite."""

    def __init__(self, matrix: Any) -> None:
        self.sparse = scipy.sparse.issparse(matrix)
        self.matrix = matrix.tocsc() if self.sparse else np.asarray(matrix)
        self.order = matrix.shape[0]
        self.reciprocal_condition = self._factor() if self.order else 1.0

    def solve(self, right: Array, transposed: bool = False) -> Array:
        """x with M x = right, or M'x = right; right (N, k)."""
        if right.size == 0:
            return np.zeros_like(right)
        if self.reciprocal_condition >= SINGULAR:
            return self._refined(right, transposed)
        solution = self._least_norm(right, transposed)
        defect = self._defect(solution, right, transposed)
        if defect > 1e-8 and self.reciprocal_condition > 0:
            direct = self._refined(right, transposed)
            if self._defect(direct, right, transposed) < min(1e-8, defect):
                return direct
        return solution

    def _factor(self) -> float:
        """Factor M; an estimate of its reciprocal condition number in the 1-norm, 0 where LU breaks down."""
        if self.sparse:
            try:
                self._lu = scipy.sparse.linalg.splu(self.matrix)
            except RuntimeError:
                return 0.0
            inverse = scipy.sparse.linalg.LinearOperator(
                self.matrix.shape, matvec=self._lu.solve, rmatvec=lambda y: self._lu.solve(y, "T"), dtype=np.float64
            )
            size = scipy.sparse.linalg.onenormest(inverse) * scipy.sparse.linalg.norm(self.matrix, 1)
            return float(1 / size) if np.isfinite(size) else 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)  # exactly singular: gecon answers 0
            self._lu = scipy.linalg.lu_factor(self.matrix, check_finite=False)
        reciprocal, _ = scipy.linalg.lapack.dgecon(self._lu[0], np.abs(self.matrix).sum(0).max())
        return float(reciprocal)

    def _direct(self, right: Array, transposed: bool) -> Array:
        if self.sparse:
            return np.asarray(self._lu.solve(np.ascontiguousarray(right), "T" if transposed else "N"))
        return np.asarray(scipy.linalg.lu_solve(self._lu, right, trans=int(transposed), check_finite=False))

    def _refined(self, right: Array, transposed: bool) -> Array:
        matrix = self.matrix.T if transposed else self.matrix
        solution = self._direct(right, transposed)
        for _ in range(REFINEMENTS):
            solution = solution + self._direct(right - matrix @ solution, transposed)
        return solution

    def _least_norm(self, right: Array, transposed: bool) -> Array:
        if self.sparse:
            matrix = self.matrix.T if transposed else self.matrix
            columns = [
                scipy.sparse.linalg.lsqr(matrix, column, atol=1e-15, btol=1e-15, conlim=0, iter_lim=20 * self.order)[0]
                for column in right.T
            ]
            return np.stack(columns, -1)
        U, values, Vt = self._spectrum
        kept = values > SINGULAR * values[0]
        inverse = np.where(kept, 1 / np.where(kept, values, 1), 0)[:, None]
        if transposed:
            return np.asarray(U @ (inverse * (Vt @ right)))
        return np.asarray(Vt.T @ (inverse * (U.T @ right)))

    @cached_property
    def _spectrum(self) -> tuple[Array, Array, Array]:
        U, values, Vt = np.linalg.svd(self.matrix)
        return U, values, Vt

    def _defect(self, solution: Array, right: Array, transposed: bool) -> float:
        """Largest relative residual of the columns."""
        matrix = self.matrix.T if transposed else self.matrix
        with np.errstate(all="ignore"):
            residual = np.abs(matrix @ solution - right).max(0) / np.maximum(np.abs(right).max(0), np.finfo(float).tiny)
        return float(residual.max()) if np.isfinite(residual).all() else np.inf
