"""The formulas of every loss, as pure functions of numpy, torch or JAX arrays.

Rooms, from the ground up: `ops` (what differs between libraries), `pairwise` (the engine), `pool` (what a step looks
at) and `losses` (the formulas); `checks`, `reductions`, `quantile` and `metrics` beside them.
"""

__version__ = "0.1.0"
