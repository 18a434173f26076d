"""Losses for imbalanced data as pure JAX functions."""
