"""The losses as Flax NNX modules: the functions of `imbalanced_jax` with their options, queue and schedule as state.

A module keeps its state in Variables of the type `LossState`, which optimizers and gradients of `nnx.Param` ignore.
Pass the module to `nnx.jit` and `nnx.value_and_grad` as an argument: NNX cannot write to the Variables of a module that
a transformed function closes over.

Needs flax, which `import imbalanced_jax` does not.
"""

try:
    import flax.nnx  # noqa: F401  (imported here, so that its absence has one message)
except ModuleNotFoundError as error:
    if error.name != "flax":
        raise
    message = "imbalanced_jax.nnx needs flax: python -m pip install flax. The functions of imbalanced_jax do not"
    raise ModuleNotFoundError(message, name="flax") from error

from imbalanced_jax.nnx.losses import (
    AsymmetricLoss,
    AUCLoss,
    HardNegativeLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    NDCGLoss,
    PAUCAtBudgetLoss,
    Poly1Loss,
    PrecisionAtKLoss,
    PrecisionAtRecallLoss,
    RecallAtKLoss,
    RecallAtPrecisionLoss,
    RecallAtQuantileLoss,
    SigmoidFocalLoss,
    SigmoidLogitAdjustedLoss,
    SmoothAPLoss,
    SoftmaxFocalLoss,
    SymmetricCrossEntropyLoss,
    VectorScalingLoss,
)
from imbalanced_jax.nnx.module import LossState
from imbalanced_jax.nnx.warmup import LossWarmupWrapper

__all__ = [
    "AUCLoss",
    "AsymmetricLoss",
    "HardNegativeLoss",
    "LDAMLoss",
    "LogitAdjustedLoss",
    "LossState",
    "LossWarmupWrapper",
    "NDCGLoss",
    "PAUCAtBudgetLoss",
    "Poly1Loss",
    "PrecisionAtKLoss",
    "PrecisionAtRecallLoss",
    "RecallAtKLoss",
    "RecallAtPrecisionLoss",
    "RecallAtQuantileLoss",
    "SigmoidFocalLoss",
    "SigmoidLogitAdjustedLoss",
    "SmoothAPLoss",
    "SoftmaxFocalLoss",
    "SymmetricCrossEntropyLoss",
    "VectorScalingLoss",
]
