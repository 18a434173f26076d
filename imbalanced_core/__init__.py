"""The formulas of every loss, as pure functions of numpy, torch or JAX arrays.

Layers, from the bottom up: `ops` (what differs between libraries), `pairwise` (sums over pairs), `pool` (the data of a
step) and `losses` (the formulas); also `checks`, `options`, `reductions`, `quantile`, `metrics`.
"""

__version__ = "0.1.0"
