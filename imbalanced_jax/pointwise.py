"""Losses of single predictions and of lists: checks of concrete values, then one jitted call of the core.

Arguments shared by all functions:

- reduction: "mean" over the counted positions, "sum" or "none". The focal losses, and those for independent labels,
  also have "mean_positive": the sum over all positions, background included, divided by the number of positive (or
  non-background) positions. With sample weights, sums and counts are weighted; a divisor of exactly 0 counts as 1.
- class_counts: items per class in the training data [C], such as `jnp.bincount(targets, length=C)`; a sequence or
  array, > 0. Only ratios matter, so frequencies work too. Use 1 for a class without items.
- where, for independent labels: bool, the shape of `logits`; False masks an entry, as `ignore_index` does.
- ignore_index: target value of ignored positions: their loss and gradient are 0, whatever else they hold.
- sample_weight: >= 0, no gradient; in the shape of the losses, one per row [N], or broadcasting to them, such as
  [N, 1].
- axis_name: mapped axis or axes over whose devices the mean is taken, in `shard_map`, `vmap` or `pmap`; gradients as
  for `imbalanced_jax.RankingOptions`.

A call returns a 0-d array, or one loss per position for reduction "none", in float32 or float64; 0 with zero gradient
where no position is counted. It raises TypeError or ValueError on invalid dtypes, shapes or parameters, or if a
readable target or weight is out of range; one that cannot be read makes the loss NaN. Numbers may change without
recompilation. The functions of `imbalanced_core.losses` have the formulas and papers.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

from jax import Array

from imbalanced_core import checks
from imbalanced_core.losses import hard_examples, long_tail, ndcg, pointwise
from imbalanced_jax import distributed, validation
from imbalanced_jax._pointwise import (
    ClassOptions,
    LabelOptions,
    ListOptions,
    class_function,
    class_loss,
    label_function,
    label_loss,
    list_function,
    list_loss,
)

Counts = Sequence[float] | Array
Number = float | Array
Rates = Number | Sequence[float]


@label_function
def sigmoid_focal_loss(
    logits: Array,
    targets: Array,
    *,
    alpha: Number | Sequence[float] | None = 0.25,
    gamma: Number = 2.0,
    **options: Unpack[LabelOptions],
) -> Array:
    """Focal loss of independent binary predictions: binary or multi-label classification.

    Formula, logits, targets, `alpha`, `gamma` and the paper: `imbalanced_core.losses.pointwise.sigmoid_focal`;
    `ignore_index` (default None), `where`, `sample_weight`, `reduction`, `axis_name`: see `imbalanced_jax.pointwise`.
    `alpha` may also be −1, for no weights, or a sequence: use w / (1 + w) for `w = imbalanced_jax.pos_weight(...)`.
    """
    if validation.holds_numbers(alpha):
        alpha = validation.as_floats("alpha", alpha, checks.probabilities)
    elif isinstance(alpha, (int, float)) and alpha == -1:
        alpha = None
    rules = {"alpha": checks.unit_interval_or_none, "gamma": checks.non_negative}
    numbers = {"alpha": alpha, "gamma": gamma}
    return label_loss(pointwise.sigmoid_focal, logits, targets, numbers, rules=rules, **options)


@class_function
def softmax_focal_loss(
    logits: Array,
    targets: Array,
    *,
    alpha: Array | Sequence[float] | None = None,
    gamma: Number = 2.0,
    label_smoothing: Number = 0.0,
    background_class: int = 0,
    **options: Unpack[ClassOptions],
) -> Array:
    """Focal loss of mutually exclusive classes.

    Formulas, logits, targets, `alpha`, `gamma`, `label_smoothing` and the paper:
    `imbalanced_core.losses.pointwise.softmax_focal`; `ignore_index`, `axis`, the class axis, `sample_weight`,
    `reduction` and `axis_name`: see `imbalanced_jax.pointwise`. `alpha` may also be a sequence; see
    `imbalanced_jax.class_weights`. `background_class` is the class id that "mean_positive" does not count.
    """
    if alpha is not None:
        alpha = validation.as_floats("alpha", alpha, checks.weights)
    checks.at_least("background_class", background_class, 0)
    numbers = {"alpha": alpha, "gamma": gamma}
    if not isinstance(label_smoothing, (int, float)) or label_smoothing != 0:
        numbers["label_smoothing"] = label_smoothing
    rules = {"gamma": checks.non_negative, "label_smoothing": checks.in_unit_interval}
    own: dict[str, Any] = {"rules": rules, "background_class": background_class}
    return class_loss(pointwise.softmax_focal, logits, targets, numbers, **own, **options)


@class_function
def symmetric_cross_entropy_loss(
    logits: Array,
    targets: Array,
    *,
    alpha: Number = 1.0,
    beta: Number = 1.0,
    epsilon: float = 1e-8,
    **options: Unpack[ClassOptions],
) -> Array:
    """Cross entropy plus reverse cross entropy, for noisy labels, but not for rare positives: `docs/cross_entropy.md`.

    Formula, `alpha` and `beta` >= 0, `epsilon` in (0, 1), and the paper:
    `imbalanced_core.losses.pointwise.symmetric_cross_entropy`. All else as for `softmax_focal_loss`.
    """
    numbers, static = {"alpha": alpha, "beta": beta}, {"epsilon": epsilon}
    function, rules = pointwise.symmetric_cross_entropy, {"alpha": checks.non_negative, "beta": checks.non_negative}
    return class_loss(function, logits, targets, numbers, rules=rules, static=static, **options)


@class_function
def logit_adjusted_loss(
    logits: Array, targets: Array, *, class_counts: Counts, tau: Number = 1.0, **options: Unpack[ClassOptions]
) -> Array:
    """Logit-adjusted cross entropy, CE(logits + τ log π, y) with π_c = n_c / Σn; with τ = 1 it is the balanced softmax.

    Predict without the adjustment: the logits are then those for balanced classes, and `prior_correction` with `tau=τ`
    gives those for the data. `class_counts` n, [C]: see `imbalanced_jax.pointwise`; `tau` is finite. All else as for
    `softmax_focal_loss`. The papers: `imbalanced_core.losses.long_tail.logit_adjusted`.
    """
    numbers = {"class_counts": class_counts, "tau": tau}
    return class_loss(long_tail.logit_adjusted, logits, targets, numbers, rules=long_tail.RULES, **options)


@class_function
def vector_scaling_loss(
    logits: Array,
    targets: Array,
    *,
    class_counts: Counts,
    gamma: Number = 0.15,
    tau: Number = 1.0,
    **options: Unpack[ClassOptions],
) -> Array:
    """Vector-scaling loss, CE(Δ ⊙ logits + τ log π, y) with Δ_c = (n_c / max n)^γ and π_c = n_c / Σn.

    As `logit_adjusted_loss`, with `gamma`, γ >= 0. The paper: `imbalanced_core.losses.long_tail.vector_scaling`.
    """
    numbers = {"class_counts": class_counts, "gamma": gamma, "tau": tau}
    return class_loss(long_tail.vector_scaling, logits, targets, numbers, rules=long_tail.RULES, **options)


@class_function
def ldam_loss(
    logits: Array,
    targets: Array,
    *,
    class_counts: Counts,
    max_margin: Number = 0.5,
    scale: Number = 30.0,
    **options: Unpack[ClassOptions],
) -> Array:
    """Label-distribution-aware margin loss, CE(s · (logits − Δ_y e_y), y) with the margins Δ_c = m (min n / n_c)^¼.

    In the paper the logits are cosines, and class reweighting starts late in training: pass it as `sample_weight`.
    Arguments as for `logit_adjusted_loss`, with `max_margin`, m >= 0, the margin of the rarest class, and `scale`,
    which is s > 0, instead of `tau`; s · m must be at most 60. See `imbalanced_core.losses.long_tail.ldam`.
    """
    long_tail.check_margin(validation.number(max_margin), validation.number(scale))
    numbers = {"class_counts": class_counts, "max_margin": max_margin, "scale": scale}
    return class_loss(long_tail.ldam, logits, targets, numbers, rules=long_tail.RULES, **options)


@label_function
def sigmoid_logit_adjusted_loss(
    logits: Array, targets: Array, *, positive_rate: Rates, tau: Number = 1.0, **options: Unpack[LabelOptions]
) -> Array:
    """Logit-adjusted binary cross entropy, BCE(logit + τ log(π / (1 − π)), y), for binary and multi-label problems.

    Predict without the adjustment: the logits are then those for balanced data, and `prior_correction` with `tau=τ` and
    `binary=True` gives those for the data. `positive_rate` is π in (0, 1), the fraction of positives, one number or one
    per label [C]; `tau` is finite. All else as for `sigmoid_focal_loss`. The paper:
    `imbalanced_core.losses.long_tail.sigmoid_logit_adjusted`.
    """
    if validation.holds_numbers(positive_rate):
        check = partial(checks.positive_values, below=1.0)
        positive_rate = validation.as_floats("positive_rate", positive_rate, check)
    numbers = {"positive_rate": positive_rate, "tau": tau}
    return label_loss(long_tail.sigmoid_logit_adjusted, logits, targets, numbers, rules=long_tail.RULES, **options)


@class_function
def poly1_loss(logits: Array, targets: Array, *, epsilon: Number = 1.0, **options: Unpack[ClassOptions]) -> Array:
    """Poly-1 cross entropy, CE(logits, y) + ε (1 − p_y), ε >= −1: `imbalanced_core.losses.hard_examples.poly1`.

    All else as for `softmax_focal_loss`.
    """
    return class_loss(hard_examples.poly1, logits, targets, {"epsilon": epsilon}, rules=hard_examples.RULES, **options)


@label_function
def asymmetric_loss(
    logits: Array,
    targets: Array,
    *,
    gamma_pos: Number = 1.0,
    gamma_neg: Number = 4.0,
    clip: float = 0.05,
    **options: Unpack[LabelOptions],
) -> Array:
    """Asymmetric loss for multi-label classification: focuses negatives more than positives and drops easy ones.

    loss = y (1 − p)^γ₊ (−log p) + (1 − y) p_m^γ₋ (−log(1 − p_m)) with p = σ(logit) and p_m = max(p − m, 0); see
    `imbalanced_core.losses.hard_examples.asymmetric`. Logits, targets and options as for `sigmoid_focal_loss`;
    `gamma_pos` and `gamma_neg` are γ₊ and γ₋ >= 0, and `clip` is m in [0, 1), static under jit: a negative with p <= m
    has loss and gradient 0, so do not start the last bias at the prior.
    """
    numbers, static = {"gamma_pos": gamma_pos, "gamma_neg": gamma_neg}, {"clip": clip}
    return label_loss(
        hard_examples.asymmetric, logits, targets, numbers, rules=hard_examples.RULES, static=static, **options
    )


@label_function
def hard_negative_loss(
    logits: Array, targets: Array, *, share: float = 0.25, axis: int | None = 0, **options: Unpack[LabelOptions]
) -> Array:
    """Binary cross entropy over all positives and the hardest negatives, those with the highest logits.

    `share`, `axis` and the paper: `imbalanced_core.losses.hard_examples.hard_negative`; both are static under jit. A
    mean is over the kept entries. With `axis_name` the negatives of all devices compete (`axis` 0 or None). Start the
    last bias at the log odds of the positives. All else as for `sigmoid_focal_loss`.
    """
    static = {"share": share, "axis": axis, "axis_name": distributed.axis_names(options["axis_name"])}
    return label_loss(_hard_negative, logits, targets, {}, rules=hard_examples.RULES, static=static, **options)


@list_function
def ndcg_loss(scores: Array, relevance: Array, *, gain: str = "exponential", **options: Unpack[ListOptions]) -> Array:
    """One minus the smooth normalised discounted cumulative gain (NDCG), averaged over lists.

    A list holds the items of one query; there are no classes and no queue. It counts if its labels are not all equal.
    Formula, scores, relevance, `gain` and papers: `imbalanced_core.losses.ndcg.ndcg`; the other options:
    `imbalanced_core.options.ListOptions` and, for `axis_name`, results and errors, `imbalanced_jax.pointwise`.
    """
    return list_loss(ndcg.ndcg, scores, relevance, rules=ndcg.RULES, gain=gain, **options)


def _hard_negative(
    logits: Array, targets: Array, *, axis: int | None, axis_name: Any, where: Any, **options: Any
) -> Any:
    arrays = (logits, targets, where)
    logits, targets, where = distributed.replicate(arrays, automatic=axis in (None, 0))  # else rows are independent
    gather = partial(distributed.gather_rows, axis_name=axis_name)
    return hard_examples.hard_negative(logits, targets, axis=axis, where=where, gather=gather, **options)
