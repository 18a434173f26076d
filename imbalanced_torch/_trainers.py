"""What the callbacks for trainers share: the warm-up wrappers inside a module, and what is logged of them."""

from torch import nn

from imbalanced_torch.warmup import LossWarmupWrapper


def wrappers_in(module: nn.Module) -> dict[str, LossWarmupWrapper]:
    """The wrappers by their names in the module; the module itself has the name ""."""
    return {name: part for name, part in module.named_modules() if isinstance(part, LossWarmupWrapper)}


def progress_of(wrappers: dict[str, LossWarmupWrapper]) -> dict[str, float]:
    """The weight and the temperature of each wrapper; several are told apart by their names."""
    progress = {}
    for name, wrapper in wrappers.items():
        prefix = "" if len(wrappers) == 1 else f"{name}."
        progress[f"{prefix}main_weight"] = wrapper.main_weight
        if (temperature := wrapper.current_temperature) is not None:
            progress[f"{prefix}temperature"] = temperature
    return progress
