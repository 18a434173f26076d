"""What the callbacks of training frameworks share."""

from torch import nn

from imbalanced_torch.warmup import LossWarmupWrapper


def wrappers_in(module: nn.Module) -> dict[str, LossWarmupWrapper]:
    """The wrappers in a module by qualified name; that of the module itself is ""."""
    return {name: part for name, part in module.named_modules() if isinstance(part, LossWarmupWrapper)}


def progress_of(wrappers: dict[str, LossWarmupWrapper]) -> dict[str, float]:
    """The weight and temperature of each wrapper, prefixed with its name if there are several."""
    progress = {}
    for name, wrapper in wrappers.items():
        prefix = "" if len(wrappers) == 1 else f"{name}."
        progress[f"{prefix}main_weight"] = wrapper.main_weight
        if (temperature := wrapper.current_temperature) is not None:
            progress[f"{prefix}temperature"] = temperature
    return progress
