"""Base classes of the loss modules: a function of `imbalanced_jax` with its options as attributes."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from imbalanced_core.options import unknown_keyword


class LossState(nnx.Variable):
    """State of a loss that no optimizer trains: a queue, a temperature, the number of steps."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, (int, float)):  # before flax 0.12.1 it would replace the array
            value = jnp.asarray(value, self[...].dtype)
        super().__setitem__(key, value)


class LossModule(nnx.Module):
    """Base class of modules around a function; the constructor takes the function's options, with their defaults.

    A concrete subclass gives the function as class keyword `loss` and sets the constructor's positional arguments. All
    options are attributes; those that are arrays can change without recompilation.
    """

    loss: ClassVar[Callable[..., Any]]
    positional: ClassVar[tuple[str, ...]]
    more: ClassVar[dict[str, Any]] = {}  # arguments of the constructor besides the function's options
    of_the_call: ClassVar[tuple[str, ...]]  # arguments of the function that are not options
    _options: ClassVar[tuple[str, ...]]  # the names of the function's options

    def __init_subclass__(cls, *, loss: Callable[..., Any] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if loss is not None:
            cls.loss = staticmethod(loss)
        if "loss" not in cls.__dict__:
            return
        options = {
            name: parameter.default
            for name, parameter in inspect.signature(cls.loss).parameters.items()
            if name not in cls.of_the_call
        }
        cls._options = tuple(options)
        kind, defaults = inspect.Parameter, cls.more | options
        by_position = [kind(name, kind.POSITIONAL_OR_KEYWORD, default=defaults.pop(name)) for name in cls.positional]
        by_name = [kind(name, kind.KEYWORD_ONLY, default=default) for name, default in defaults.items()]
        signature = inspect.Signature([*by_position, *by_name])

        def __init__(self: LossModule, *arguments: Any, **given: Any) -> None:  # noqa: N807
            for name in given.keys() - signature.parameters.keys():
                raise unknown_keyword(cls.__name__, name, signature.parameters)
            bound = signature.bind(*arguments, **given)
            bound.apply_defaults()
            self._start(bound.arguments)

        own = [kind("self", kind.POSITIONAL_OR_KEYWORD), *by_position, *by_name]
        __init__.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        cls.__init__ = __init__  # type: ignore[assignment, method-assign]

    def _start(self, arguments: dict[str, Any]) -> None:
        """Stores the constructor's arguments as attributes and lets the function check its options."""
        for name, value in arguments.items():
            # NNX needs static attributes to be hashable, unlike a list or a numpy array
            is_fixed = not isinstance(value, (list, np.ndarray)) or np.ndim(value) == 0
            setattr(self, name, value if is_fixed else tuple(np.asarray(value).tolist()))
        self._check_options()

    def _check_options(self) -> None:
        """Lets the function check its options, on the shapes of a row, without computing anything."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """The options of the function, by name."""
        return {name: getattr(self, name) for name in self._options}


class PointwiseLoss(LossModule):
    """Base class of the pointwise losses: a function with its options, without state; invalid options raise errors."""

    of_the_call = ("logits", "targets", "where", "sample_weight")

    def _check_options(self) -> None:
        options = self.options() | {"axis_name": None}
        background = options.get("background_class", 0)
        width = max(2, 1 + background) if isinstance(background, int) else 2  # the check at the call reports it
        for name in ("alpha", "class_counts", "positive_rate"):
            if name in options and np.ndim(options[name]) == 1:
                width = len(options[name])
        logits = np.zeros((1, width), np.float32)
        targets: Any = logits
        if "where" not in inspect.signature(type(self).loss).parameters:  # classes on an axis
            options["axis"], targets = -1, np.zeros(1, np.int32)
        jax.eval_shape(lambda: type(self).loss(logits, targets, **options))

    def __call__(self, logits: Array, targets: Array, *, sample_weight: Array | None = None) -> Array:
        """The loss of logits against targets; arguments as those of the function."""
        return type(self).loss(logits, targets, sample_weight=sample_weight, **self.options())


class LabelLoss(PointwiseLoss):
    """Base class of losses for independent labels."""

    def __call__(
        self, logits: Array, targets: Array, *, sample_weight: Array | None = None, where: Array | None = None
    ) -> Array:
        """The loss of logits against targets; arguments as those of the function."""
        return type(self).loss(logits, targets, sample_weight=sample_weight, where=where, **self.options())


class ListLoss(PointwiseLoss):
    """Base class of losses for lists of scores with graded labels."""

    of_the_call = ("scores", "relevance", "where", "sample_weight")

    def __call__(
        self, scores: Array, relevance: Array, where: Array | None = None, *, sample_weight: Array | None = None
    ) -> Array:
        """The loss of lists [..., n], as the function accepts them."""
        return type(self).loss(scores, relevance, where=where, sample_weight=sample_weight, **self.options())
