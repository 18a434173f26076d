"""Does a ranking loss help on truly imbalanced data? Small networks with pointwise and ranking losses, compared.

- `problems`: the data, and how it is split
- `methods`: the losses
- `runs`: training, one compiled program for all splits and learning rates, and the file of finished runs
- `report`: ranks, tests and plots

Run it with `python -m examples.study`; the results are in docs/study.md.
"""
