"""Losses that treat hard and easy examples differently; arguments as in `imbalanced_jax.pointwise`."""

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
    """Poly-1 cross entropy: changes the first coefficient of the series of log p_y.

    loss = CE(logits, y) + ε (1 − p_y).

    Logits, targets and options as for `softmax_focal_loss`; `epsilon` is ε >= −1; 0 gives the cross entropy.

    References:
        Leng et al., PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions, ICLR 2022,
        https://arxiv.org/abs/2204.12511
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

    loss = y (1 − p)^γ₊ (−log p) + (1 − y) p_m^γ₋ (−log(1 − p_m)) with p = σ(logit) and p_m = max(p − m, 0).

    Logits, targets and options as for `sigmoid_focal_loss`; `gamma_pos` and `gamma_neg` are γ₊ and γ₋ >= 0, and `clip`
    is m in [0, 1), static under jit: a negative with p <= m has loss and gradient 0.

    References:
        Ridnik et al., Asymmetric Loss for Multi-Label Classification, ICCV 2021, https://arxiv.org/abs/2009.14119
    """
    numbers, static = {"gamma_pos": gamma_pos, "gamma_neg": gamma_neg}, {"clip": clip}
    return label_loss(hard_examples.asymmetric, logits, targets, numbers, rules=RULES, static=static, **options)


@label_function
def hard_negative_loss(
    logits: Array, targets: Array, *, share: float = 0.25, axis: int | None = 0, **options: Unpack[LabelOptions]
) -> Array:
    """Binary cross entropy over all positives and the hardest negatives, those with the highest logits.

    Of n competing negatives (targets below ½), 1 + ⌊share · (n − 1)⌋ are kept, and all that tie with the last of these;
    a mean is over the kept entries. With `axis_name` the negatives of all devices compete (`axis` 0 or None).

    Logits, targets and options as for `sigmoid_focal_loss`; `share` is in [0, 1], where 1 gives the binary cross
    entropy, and negatives compete along `axis`: 0 for the rows of a batch, separately per label; −1 for the labels of a
    row; None for all entries. Both are static under jit.

    References:
        Shrivastava et al., Training Region-Based Object Detectors with Online Hard Example Mining, CVPR 2016,
        https://arxiv.org/abs/1604.03540
    """
    static = {"share": share, "axis": axis, "axis_name": options["axis_name"]}
    return label_loss(_hard_negative, logits, targets, {}, rules=RULES, static=static, **options)


def _hard_negative(logits: Array, targets: Array, *, axis_name: Any, where: Any, **options: Any) -> Any:
    logits, targets, where = distributed.replicate((logits, targets, where))
    gather = partial(distributed.gather_rows, axis_name=axis_name)
    return hard_examples.hard_negative(logits, targets, where=where, gather=gather, **options)
