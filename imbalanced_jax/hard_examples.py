"""Losses that treat hard and easy examples differently.

Arguments as in `imbalanced_jax.pointwise`; papers: the functions of `imbalanced_core.losses.hard_examples`.
"""

from functools import partial
from typing import Any, Unpack

from jax import Array

from imbalanced_core.losses import hard_examples
from imbalanced_core.losses.hard_examples import RULES
from imbalanced_jax import distributed
from imbalanced_jax._pointwise import ClassOptions, LabelOptions, class_function, class_loss, label_function, label_loss

Number = float | Array


@class_function
def poly1_loss(logits: Array, targets: Array, *, epsilon: Number = 1.0, **options: Unpack[ClassOptions]) -> Array:
    """Poly-1 cross entropy, CE(logits, y) + ε (1 − p_y): `imbalanced_core.losses.hard_examples.poly1`.

    Logits, targets and options as for `softmax_focal_loss`; `epsilon` is ε >= −1; 0 gives the cross entropy.
    """
    return class_loss(hard_examples.poly1, logits, targets, {"epsilon": epsilon}, rules=RULES, **options)


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
    has loss and gradient 0.
    """
    numbers, static = {"gamma_pos": gamma_pos, "gamma_neg": gamma_neg}, {"clip": clip}
    return label_loss(hard_examples.asymmetric, logits, targets, numbers, rules=RULES, static=static, **options)


@label_function
def hard_negative_loss(
    logits: Array, targets: Array, *, share: float = 0.25, axis: int | None = 0, **options: Unpack[LabelOptions]
) -> Array:
    """Binary cross entropy over all positives and the hardest negatives, those with the highest logits.

    `share`, `axis` and the paper: `imbalanced_core.losses.hard_examples.hard_negative`; both are static under jit. A
    mean is over the kept entries. With `axis_name` the negatives of all devices compete (`axis` 0 or None). All else as
    for `sigmoid_focal_loss`.
    """
    static = {"share": share, "axis": axis, "axis_name": options["axis_name"]}
    return label_loss(_hard_negative, logits, targets, {}, rules=RULES, static=static, **options)


def _hard_negative(logits: Array, targets: Array, *, axis_name: Any, where: Any, **options: Any) -> Any:
    logits, targets, where = distributed.replicate((logits, targets, where))
    gather = partial(distributed.gather_rows, axis_name=axis_name)
    return hard_examples.hard_negative(logits, targets, where=where, gather=gather, **options)
