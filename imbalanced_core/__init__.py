"""The formulas of every loss, as pure functions of numpy, torch or JAX arrays."""
