"""The logistic function and its derivative as polynomials in t = exp(−|x|), for the pairwise engine."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from imbalanced_core import ops


class Kernel(NamedTuple):
    """A function of x = (s_j − s_i)/τ, expanded in t = exp(−|x|)."""

    first: int  # power of t: 0 if a constant is needed, else 1
    last: int
    negative_powers: ops.Table  # −p
    matrices: ops.Table  # [end, power, power]: maps moments of others to coefficients of `basis`

    @property
    def size(self) -> int:
        """The number of powers."""
        return self.last + 1 - self.first


def _power_coefficients(function: Callable, order: int) -> np.ndarray:
    """c_1 ... c_order with t · function(t) = Σ_p c_p t^p on [0, 1], exact at t = 1, the case of tied scores.

    Interpolates `function` at Chebyshev nodes, so that the error is relative to t: far pairs lose no precision. It
    decays as 5.83^(−order), because the functions here have their pole at t = −1.
    """
    series = np.polynomial.Chebyshev.interpolate(function, order - 1, domain=[0, 1])
    c = series.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1]).coef
    c[0] += function(1.0) - c.sum()
    return c


def _logistic(order: int) -> Kernel:
    """σ(x): t/(1 + t) for an item below, 1 − t/(1 + t) for one above."""
    c = _power_coefficients(lambda t: 1 / (1 + t), order)
    return Kernel(0, order, ops.table(-np.arange(order + 1)), ops.table([_matrix(0.0, c), _matrix(1.0, -c)]))


def _logistic_derivative(order: int) -> Kernel:
    """σ'(x) = t/(1 + t)², an even function."""
    matrix = _matrix(0.0, _power_coefficients(lambda t: 1 / (1 + t) ** 2, order))
    return Kernel(1, order, ops.table(-np.arange(1, order + 1)), ops.table([matrix[1:, 1:]] * 2))


def _matrix(constant: float, c: np.ndarray) -> np.ndarray:
    """M with constant + Σ_p c_p (t u)^p = Σ_pq M_pq b_p(t) b_q(u) for the functions b of `basis`, powers from 0 on.

    It follows from (t u)^p = (t^p − t + t)(u^p − u + u).
    """
    matrix = np.diag([constant, *c])
    matrix[1, 2:] = matrix[2:, 1] = c[1:]
    matrix[1, 1] = c.sum()
    return matrix


# By bits of the dtype. A higher order would not help: its larger coefficients amplify rounding.
LOGISTIC = {32: _logistic(10), 64: _logistic(21)}
LOGISTIC_DERIVATIVE = {32: _logistic_derivative(10), 64: _logistic_derivative(21)}
