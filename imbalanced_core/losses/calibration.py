"""Prior correction of the logits of a model trained on other odds than the population's."""

from imbalanced_core import checks, ops
from imbalanced_core.ops.namespace import Array, array_namespace


def prior_correction(
    logits: Array,
    *,
    weights: Array | None = None,
    train_prior: Array | None = None,
    prior: Array | None = None,
    tau: float = 0.0,
    binary: bool = False,
) -> Array:
    """The logits of the population, whose softmax, or sigmoid, gives its probabilities.

    A model trained by cross entropy with class weights w on data in which class c has share π'_c (in the population,
    π_c), with τ log π' added to its logits in the loss, learns p'(c|x) ∝ w_c π'_c^(−τ) (π'_c / π_c) p(c|x). So the
    correction is

        logits − log w − log π' + log π + τ log π'

    which does not change the ranking within a class. With `binary` each logit belongs to one positive class: w is its
    weight relative to the negatives (`pos_weight`), π its share, and log π means log(π / (1 − π)).

    Args:
        logits: floating point [..., C].
        weights: > 0, broadcastable to logits; the class weights of the loss. None: 1.
        train_prior: > 0, broadcastable to logits; shares of the classes in training, or counts unless `binary`. None:
            those of the population.
        prior: > 0, broadcastable to logits; shares in the population. None: those of training.
        tau: τ of a logit-adjusted loss, which then needs one of the priors; 0 for other losses.
        binary: whether each logit belongs to a sigmoid, as in binary and multi-label problems.

    Returns:
        The shape of `logits`. NaN where a weight or share is out of range, infinite where it is at a bound.

    Raises:
        ValueError: on mismatched shapes, one logit without `binary`, `tau` without a prior, or if nothing would be
            corrected: without weights and priors, or with one prior and without `tau`.

    References:
        Saerens et al., Adjusting the Outputs of a Classifier to New a Priori Probabilities, Neural Computation 2002
        Elkan, The Foundations of Cost-Sensitive Learning, IJCAI 2001
        Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021, https://arxiv.org/abs/2007.07314
    """
    checks.floating("logits", logits)
    checks.finite("tau", tau)
    for name, numbers in (("weights", weights), ("train_prior", train_prior), ("prior", prior)):
        checks.broadcastable(name, numbers, "logits", logits)
    if not binary:
        checks.several_classes("logits", logits, axis=-1, instead="binary=True")
    seen = train_prior if train_prior is not None else prior
    checks.require(tau == 0 or seen is not None, "tau", "0 unless train_prior or prior is given", tau)
    checks.require(weights is not None or seen is not None, "weights, or train_prior and prior,", "given", None)
    if tau == 0:
        checks.require(train_prior is None or prior is not None, "prior", "given together with train_prior", prior)
        checks.require(
            prior is None or train_prior is not None, "train_prior", "given together with prior", train_prior
        )
    xp = array_namespace(logits, weights, train_prior, prior)

    x = ops.widen(logits)  # a share of 1e-8 or a weight of 1e5 does not fit in half precision

    def log_odds(shares: Array) -> Array:
        shares = xp.astype(shares, x.dtype)
        return xp.broadcast_to(xp.log(shares) - xp.log1p(-shares) if binary else xp.log(shares), x.shape)

    if weights is not None:
        x = x - xp.broadcast_to(xp.log(xp.astype(weights, x.dtype)), x.shape)
    if train_prior is not None and prior is not None:
        x = x - log_odds(train_prior) + log_odds(prior)
    return ops.astype(x if seen is None or tau == 0 else x + tau * log_odds(seen), logits.dtype)
