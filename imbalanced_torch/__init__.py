"""Losses for imbalanced data as PyTorch modules."""
