"""What the backward of each structure computes, in LaTeX: the adjoint form of the implicit function theorem.

The theorem is said once for all; a structure that solves a smaller system has its own display, a closed form the words
that it describes itself with.

Reference: Blondel et al., Efficient and modular implicit differentiation, 2022.
"""

from __future__ import annotations

import textwrap

from declarative.ir.show import show
from declarative.structures import Match
from declarative.structures.dense_qp import DenseQPMatch

THEOREM = r"""Where the solution is regular, a cotangent $\bar w$ of it is carried to the parameters by
\[
\Bigl(\frac{\partial F}{\partial w}\Bigr)^{\!\top} u = \bar w, \qquad
\bar\theta = -\Bigl(\frac{\partial F}{\partial \theta}\Bigr)^{\!\top} u .
\]"""

ROOT = r"""One linear system per instance is solved for $u$, at the root; $\bar\theta$ is one reverse-mode call on $F$.
The start only chooses the branch: its derivative is zero."""

SMOOTH = r"""With the Hessian $H = \nabla^2_{ww} f$ at the solution this is
\[
H u = \bar w, \qquad \bar\theta = -\bigl(\partial_\theta \nabla_{w} f\bigr)^{\!\top} u ,
\]
$\theta$ with the weights of externs. The start only chooses the branch: its derivative is zero."""

CONE = r"""In the cone form: minimize $\frac12 x^\top P x + q^\top x$ subject to $A x + s = b$, $s \in K$, with
$D = \mathrm{D}\Pi_K(s - z)$ the derivative of the projection onto $K$, this is
\[
\begin{bmatrix} P & A^\top & 0 \\ A & 0 & I \\ 0 & D & I - D \end{bmatrix}^{\!\top} u = \bar w, \qquad
w = (x, z, s), \qquad \bar\theta = -\Bigl(\frac{\partial F}{\partial \theta}\Bigr)^{\!\top} u ,
\]
through the sparse maps $\theta \mapsto (P, q, A, b)$."""

EQUALITY = r"""As the system is linear this is
\[
\begin{bmatrix} P & A^\top \\ A & 0 \end{bmatrix} \begin{bmatrix} u \\ v \end{bmatrix}
= \begin{bmatrix} \bar x \\ \bar\nu \end{bmatrix}, \qquad
\bar\theta = -\Bigl(\frac{\partial F}{\partial \theta}\Bigr)^{\!\top} (u, v) ,
\]
with the matrix of the forward pass; where it is singular, its least-norm solution."""

ACTIVE_SET = r"""With $C$ the rows %s, this is
\[
\begin{bmatrix} P & C^\top \\ C & 0 \end{bmatrix} \begin{bmatrix} u \\ v \end{bmatrix}
= \begin{bmatrix} \bar x \\ \bar c \end{bmatrix}, \qquad
\bar\theta = -\Bigl(\frac{\partial F}{\partial \theta}\Bigr)^{\!\top} (u, v) .
\]
Inactive rows drop out, their multipliers stay zero; where the matrix is singular, its least-norm solution is taken."""

FREE = r"""Without constraints this is $P u = \bar x$ and $\bar\theta = -(\partial_\theta (P x + q))^\top u$."""

SYSTEMS = {"root": ROOT, "smooth_local": SMOOTH, "cone_program": CONE}


def backward(match: Match) -> list[str]:
    """The paragraphs on the derivative of a program that has this structure."""
    return [THEOREM, "", _system(match)]


def _system(match: Match) -> str:
    if isinstance(match, DenseQPMatch):
        form = match.form
        rows = [r"of $A$"] if form.equalities else []
        rows += [r"of the inequalities with $\lambda_i > s_i$, the slack"] if form.inequalities else []
        rows += ["of the bounds that fix a variable"] if form.lower or form.upper else []
        return ACTIVE_SET % " and ".join(rows) if rows else FREE
    if match.structure == "equality_qp":
        return EQUALITY if any("A'" in line for line in match.derivative(show)) else FREE
    if match.structure in SYSTEMS:
        return SYSTEMS[match.structure]
    lines = [part for line in match.derivative(show) for part in textwrap.wrap(line, 78, subsequent_indent="  ")]
    return "\n".join(
        ["The solution has a closed form, whose derivative is", r"\begin{verbatim}", *lines, r"\end{verbatim}"]
    )
