"""Reference implementation of every operation in `ops`, for any array-API array; torch and JAX have faster ones."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from imbalanced_core.ops.namespace import Array, array_namespace


def differences(x: Array, y: Array, unit: Array) -> Array:
    return (x[..., None, :] - y[..., :, None]) / unit[..., None, None]


def decay(x: Array) -> Array:
    return array_namespace(x).exp(x)


def sigmoid(x: Array, *, reuse: bool = False, absolute: bool = False) -> Array:
    xp = array_namespace(x)
    power = xp.exp(-xp.abs(x))  # (1 + tanh(x/2))/2 would lose the precision of a small result
    return xp.where(x < 0, power, 1.0) / (1.0 + power)


def logistic(x: Array) -> Array:
    # the unselected branch has a finite derivative, so no NaN arises
    return array_namespace(x).where(x > 0, 1.0 - sigmoid(-x), sigmoid(x))


def arange(n: int, like: Array) -> Array:
    xp = array_namespace(like)
    return xp.arange(n, dtype=xp.int32, device=like.device)


def where(condition: Array, x: Array | float, y: Array | float) -> Array:
    return array_namespace(condition).where(condition, x, y)


def clear(x: Array, where: Array, largest: float) -> tuple[Array, Array]:
    xp = array_namespace(x)
    kept = xp.where(where, x, 0.0)
    is_nan = xp.isnan(kept)
    return xp.clip(xp.where(is_nan, 0.0, kept), min=-largest, max=largest), xp.any(is_nan, axis=-1)


def times_logistic_derivative(x: Array, at: Array, *, reuse: bool = False, reuse_at: bool = False) -> Array:
    p = sigmoid(-array_namespace(at).abs(at))
    return x * (p * (1.0 - p))


def stop_gradient(x: Array) -> Array:
    return x


def sort_with_order(x: Array) -> tuple[Array, Array]:
    xp = array_namespace(x)
    order = xp.argsort(x, axis=-1, stable=True)
    return xp.take_along_axis(x, order, axis=-1), order


def replicate(arrays: Any, *, automatic: bool = True) -> Any:
    return arrays


def sort(x: Array) -> Array:
    return array_namespace(x).sort(x, axis=-1)


def gather(x: Array, order: Array) -> Array:
    return array_namespace(x).take_along_axis(x, order, axis=-1)


def inverse_permutation(order: Array) -> Array:
    return array_namespace(order).argsort(order, axis=-1)


UNTRACED: dict[str, Callable[..., Array]] = {}  # the functions of `ops.untraced` by name


def untraced(name: str, arrays: tuple, like: int) -> Array:
    return UNTRACED[name](*arrays)


def is_eager_cpu(x: Array) -> bool:
    return False


is_on_accelerator = prefers_untraced = are_binary = is_eager_cpu


def readable(x: Array) -> np.ndarray | None:
    return x if isinstance(x, np.ndarray) else None


def zero_diagonal(x: Array, offset: int) -> Array:
    xp = array_namespace(x)
    columns = xp.arange(x.shape[-1])
    is_own = columns[None, :] == columns[offset : offset + x.shape[-2], None]
    return xp.where(xp.broadcast_to(is_own, x.shape), 0.0, x)


def matmul(a: Array, b: Array) -> Array:
    return a @ b


def in_pieces(function: Callable[..., Array], arrays: tuple, size: int) -> Array:
    return function(*arrays)


class Table(NamedTuple):
    """An array of numbers as text, and its shape."""

    text: str
    shape: tuple[int, ...]


def table(numbers: Any) -> Table:
    """Nested numbers for `constant`, to be stored at module level.

    `torch.compile` guards on module globals at every call: hundreds of floats are as slow as hundreds of options, while
    a table is one comparison.
    """
    array = np.asarray(numbers, dtype=np.float64)
    return Table(" ".join(map(str, array.flat)), array.shape)


def as_numpy(numbers: Any) -> np.ndarray:
    """The array that `constant` makes, in numpy."""
    if isinstance(numbers, Table):
        return np.array(numbers.text.split(), dtype=np.float64).reshape(numbers.shape)
    return np.asarray(numbers)


def constant(numbers: Any, like: Array, dtype: Any) -> Array:
    return tabulated(as_numpy, (numbers,), like, dtype)


def tabulated(table: Callable, arguments: tuple, like: Array, dtype: Any) -> Array:
    return array_namespace(like).asarray(table(*arguments), dtype=dtype, device=like.device)


def for_each_row(number: Array, x: Array) -> Array:
    return array_namespace(x).broadcast_to(number, x.shape[:-1])


def prefers_tables(x: Array) -> bool:
    return True


def has_exact_float64(x: Array) -> bool:
    return True


def evaluate(gradient: Array | Callable[[], Array] | None) -> Array | None:
    """A gradient that a vjp returned as an array or as a function that computes it."""
    return gradient() if callable(gradient) else gradient


def with_vjp(primal: Callable, vjp: Callable, keeps: bool) -> Callable:
    return lambda *arrays, **static: primal(*arrays)[0] if keeps else primal(*arrays)


def with_partials(function: Callable, partials: tuple, with_derivative: Callable) -> Callable:
    return function


def with_class_derivative(
    function: Callable, by_targets: Callable | None, by_numbers: Callable, in_blocks: bool
) -> Callable:
    return lambda *arrays, axis: function(*arrays, axis=axis)[0]


def count(mask: Array, dtype: Any) -> Array:
    xp = array_namespace(mask)
    return xp.astype(xp.sum(xp.astype(mask, xp.int32)), dtype)


def lerp(a: Array, b: Array, weight: Array) -> Array:
    return a * (1.0 - weight) + b * weight


def add_product(x: Array, a: Array, b: Array, factor: Array | float) -> Array:
    return x + factor * a * b


def times_unit(x: Array, y: Array) -> Array:
    xp = array_namespace(y)
    return x * xp.where((y >= 0) & (y <= 1), y, xp.nan)


def logaddexp(a: Array, b: Array, p: Array, q: Array) -> Array:
    xp = array_namespace(a)
    return xp.maximum(a, b) - xp.log1p(-xp.minimum(p, q))


def divide(a: Array, b: Array) -> Array:
    return a / b


def softplus(x: Array) -> Array:
    xp = array_namespace(x)
    return xp.clip(x, min=0.0) + xp.log1p(xp.exp(-xp.abs(x)))


def zero_below(x: Array, least: float) -> Array:
    return array_namespace(x).where(x > least, x, 0.0)


def probabilities(
    x: Array, *, axis: int, access: tuple[Callable[..., Array], Callable[..., Array]] | None = None
) -> tuple[Array, Array, Array]:
    """`ops.probabilities`, with the `pick` and `scatter_ids` of another library as `access`."""
    xp, (take, replace) = array_namespace(x), access or (pick, scatter_ids)
    limits = xp.finfo(x.dtype)
    # by index, not by x == max x: a fusing compiler evaluates x twice and may round it differently
    place = xp.argmax(x, axis=axis)
    below, least = x - xp.expand_dims(take(x, place, axis=axis), axis=axis), -0.25 * float(limits.max)
    below = xp.where(below < least, least, below)  # a clip would drop the gradient of NaN
    powers = xp.exp(below)
    rest = xp.sum(replace(powers, place, 0.0, axis=axis), axis=axis, keepdims=True)  # all but the greatest
    missing = xp.clip(rest / (1.0 + rest), min=float(limits.smallest_normal))
    p = powers / (1.0 + rest)
    return p, replace(1.0 - p, place, xp.squeeze(missing, axis=axis), axis=axis), xp.log1p(rest) - below


def odds_of_others(
    x: Array, ids: Array, *, axis: int, may_underflow: bool, reuse: bool
) -> tuple[Array, Array | float, Array, Array]:
    xp = array_namespace(x)
    least = -0.25 * float(xp.finfo(x.dtype).max)  # all other logits may be −∞
    own, x = pick(x, ids, axis=axis), scatter_ids(x, ids, least, axis=axis)
    greatest = xp.max(x, axis=axis, keepdims=True)
    powers = xp.exp(x - greatest)
    total = xp.sum(powers, axis=axis, keepdims=True)
    n = (xp.squeeze(greatest, axis=axis) - own) + xp.log(xp.squeeze(total, axis=axis))
    return powers / total, 1.0, n, own


def rows_and_geometric_sums(rows: Sequence[Array], start: Array, ratio: Array, count: int) -> Array:
    sums = [start]
    for _ in range(count - 1):
        sums.append(sums[-1] * ratio + start)
    return array_namespace(start).stack([*rows, *sums], axis=-2)


def known_within(x: Array, least: float, greatest: float) -> bool:
    return False


def greatest_count(mask: Array) -> int | None:
    return None


def pick(x: Array, ids: Array, *, axis: int) -> Array:
    """The entry of x at index `ids` along one axis, which is removed; for the operations of other libraries."""
    xp = array_namespace(x)
    return xp.sum(xp.where(_is_picked(x, ids, axis=axis), x, 0.0), axis=axis)


def scatter_ids(x: Array, ids: Array, values: Array | float, *, axis: int, reuse: bool = False) -> Array:
    xp = array_namespace(x)
    values = values if isinstance(values, (int, float)) else xp.expand_dims(values, axis=axis)
    return xp.where(_is_picked(x, ids, axis=axis), values, x)


def of_ids(x: Array, ids: Array) -> Array:
    xp = array_namespace(x)
    return xp.reshape(xp.take(x, xp.reshape(ids, (-1,)), axis=0), tuple(ids.shape))


def _is_picked(x: Array, ids: Array, *, axis: int) -> Array:
    xp = array_namespace(x)
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    return xp.reshape(xp.arange(x.shape[axis], dtype=ids.dtype), tuple(shape)) == xp.expand_dims(ids, axis=axis)
