"""The symmetric part (X + X') / 2 of the argument of a spectral function, in cvxpy.

cvxpy imposes X = X' on an argument that it does not know to be symmetric. For data that is symmetric but for rounding,
as a product B diag(d) B' in float32 is, no point satisfies that to the last digit, and what multiplies a variable holds
the variable at zero.
"""

from __future__ import annotations

from typing import Any


def symmetric_part(cp: Any, X: Any) -> Any:
    """X itself where cvxpy knows it to be symmetric."""
    return X if X.is_symmetric() else cp.symmetric_wrap((X + X.T) / 2)
