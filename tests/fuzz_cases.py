"""Random calls of every public function against the float64 reference, for `python -m tests.fuzz` and the tests.

A `Plan` is one function with fixed options, shape and dtype, so that JAX compiles it once; `run(plan, library, seed)`
draws one batch for it and returns how far the library is from `reference.py`. Every row of a batch is a separate case:
one class of a multi-label ranking, one position of a pointwise loss.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import reference
import torch
from engine_ways import WAYS, engine
from losses import IGNORED, Loss

import imbalanced_jax

CLASSES = 24  # rows of a batch in the ranking losses
DTYPES = {
    "float16": (np.float16, 2e-3),
    "bfloat16": (np.float32, 1.6e-2),
    "float32": (np.float32, 0.0),
    "float64": (np.float64, 0.0),
}


class Errors(NamedTuple):
    """How far the cases of a batch are from the reference: relative to its scale, 1 being the tolerance."""

    value: np.ndarray  # [cases]
    gradient: np.ndarray  # [cases], 0 for functions without one
    tolerance: tuple[float, float]


@dataclass(frozen=True)
class Plan:
    """A function with everything that a compiler treats as constant."""

    function: str
    case: Loss
    number: int = 0
    shape: tuple[int, ...] = (12, 4)
    dtype: str = "float32"
    kind: str = "hard"  # or "soft" targets, for a pointwise loss

    @property
    def tolerance(self) -> tuple[float, float]:
        base = 1e-11 if self.dtype == "float64" else 1e-5
        return base, 20 * base + DTYPES[self.dtype][1]


# ------------------------------------------------------------------------------------------------------------- drawing


def draw_logits(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, *, finite: bool = True) -> np.ndarray:
    """Logits of one of many kinds (scales, offsets, ties, constants, extremes), rounded to the dtype."""
    scale = rng.choice([0.1, 1.0, 1.0, 1.0, 10.0, 60.0])
    logits = rng.standard_normal(shape) * scale + rng.choice([0.0, 0.0, 0.0, -3.0, 5.0])
    kind = rng.integers(8)
    if kind == 0:
        logits = np.round(logits)  # ties
    elif kind == 1:
        logits = np.where(rng.random(shape) < 0.5, rng.choice([-1.0, 0.0, 0.1, 2.0]), logits)
    elif kind == 2:
        logits = np.where(rng.random(shape) < 0.1, rng.choice([-1e4, 1e4], shape), logits)
    elif kind == 3:
        logits = np.full(shape, rng.choice([0.0, 0.1, 1 / 3, -7.7]))  # rounding errors would give a spurious spread
    elif kind == 4 and not finite:
        logits = np.where(rng.random(shape) < 0.1, rng.choice([-np.inf, np.inf], shape), logits)
    return _as_dtype(logits, dtype)


def _as_dtype(array: np.ndarray, dtype: str) -> np.ndarray:
    """Rounded to the dtype; bfloat16, which numpy lacks, is held in float32."""
    if dtype == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).bfloat16().float().numpy()
    return array.astype(DTYPES[dtype][0])


def draw_weights(rng: np.random.Generator, n: int) -> np.ndarray | None:
    """Sample weights, some of them 0, or None."""
    weights = rng.random(n) * (rng.random(n) < 0.8) * rng.choice([1e-3, 1.0, 50.0])
    return weights.astype(np.float32) if rng.random() < 0.6 else np.ones(n, np.float32)


# ------------------------------------------------------------------------------------------------------ ranking losses


def draw_ranking(plan: Plan, rng: np.random.Generator) -> dict[str, Any]:
    """A batch and a queue [N, C], [Q, C] of multi-label targets; every class is a separate problem."""
    n, past = plan.shape
    rows = n + past
    finite = plan.case.scale != "absolute"
    logits = np.concatenate([draw_logits(rng, (rows, 1), plan.dtype, finite=finite) for _ in range(CLASSES)], axis=1)
    rates = rng.choice([0.0, 0.03, 0.2, 0.5, 1.0], CLASSES, p=[0.05, 0.3, 0.35, 0.25, 0.05])
    targets = (rng.random((rows, CLASSES)) < rates).astype(np.int32)
    ignored = rng.choice([0.0, 0.2, 0.9], CLASSES, p=[0.5, 0.45, 0.05])
    targets[rng.random((rows, CLASSES)) < np.maximum(ignored, rng.choice([0.0, 0.2]))] = IGNORED
    infinite = ~np.isfinite(logits[n:]).all(axis=1)  # such rows never enter a queue
    logits[n:][infinite], targets[n:][infinite] = 0.0, IGNORED
    logits[:n][targets[:n] == IGNORED] = rng.choice([np.nan, np.inf, 3.0])
    return {
        "logits": logits,
        "targets": targets,
        "weights": draw_weights(rng, rows),
        "iid": rng.random(rows) < rng.choice([0.5, 1.0]),
        "temperature": float(np.float32(rng.choice([0.005, 0.05, 0.3, 2.0]))),
        "way": rng.choice(list(WAYS)),
    }


def reference_ranking(plan: Plan, case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses [C], validity [C] and gradients [C, N] by the definition."""
    options = {"is_iid": case["iid"]} if plan.case.takes_is_iid else {}
    n = plan.shape[0]
    live = np.arange(len(case["logits"])) < n
    scores = np.clip(np.nan_to_num(case["logits"].astype(np.float64), nan=0.0), -1e15, 1e15)
    results = [
        plan.case.definition(
            scores[:, c],
            case["targets"][:, c] == 1,
            where=case["targets"][:, c] != IGNORED,
            weights=case["weights"],
            live=live,
            temperature=case["temperature"],
            **options,
        )
        for c in range(CLASSES)
    ]
    return (
        np.array([r[0] for r in results]),
        np.array([r[1] for r in results], bool),
        np.stack([r[2][:n] for r in results]),
    )


def _call_ranking_torch(plan: Plan, case: dict[str, Any]) -> tuple:
    n, past = plan.shape
    loss_fn = plan.case.in_torch(CLASSES, queue_size=past, multilabel=True, reduction="sum")
    loss_fn = loss_fn.double() if plan.dtype == "float64" else loss_fn
    loss_fn.temperature = case["temperature"]
    loss_fn.queue = _queue_of(case, n)
    x = torch.from_numpy(case["logits"][:n].copy()).to(getattr(torch, plan.dtype)).requires_grad_()
    targets, weights, iid = (torch.from_numpy(case[name][:n].copy()) for name in ("targets", "weights", "iid"))
    with engine(case["way"]):
        loss, per_class, valid = loss_fn(x, targets, iid, True, sample_weight=weights)
        loss.backward()
    return per_class.detach().double().numpy(), valid.numpy(), x.grad.double().numpy().T


@cache
def _compiled_ranking(plan: Plan) -> Callable:
    def total(x: Any, targets: Any, queue: Any, weights: Any, iid: Any, tau: Any) -> Any:
        options = {"sample_weight": weights, "iid_mask": iid, "temperature": tau}
        return plan.case.in_jax(multilabel=True, reduction="sum")(x, targets, queue, **options)

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def _call_ranking_jax(plan: Plan, case: dict[str, Any]) -> tuple:
    n = plan.shape[0]
    x = jnp.asarray(case["logits"][:n], dtype=plan.dtype)
    arrays = (jnp.asarray(case[name][:n]) for name in ("weights", "iid"))
    queue = jax.tree.map(jnp.asarray, _queue_of(case, n))
    function = _compiled_ranking(plan)
    way = "blocks, expanded at all" if plan.number % 2 else "as it is"
    with engine(way):  # compiled code keeps this setting
        (_, aux), gradient = function(x, jnp.asarray(case["targets"][:n]), queue, *arrays, case["temperature"])
    return np.asarray(aux.per_class, np.float64), np.asarray(aux.valid), np.asarray(gradient, np.float64).T


def _queue_of(case: dict[str, Any], n: int) -> imbalanced_jax.Queue:
    logits = case["logits"][n:].astype(np.float64 if case["logits"].dtype == np.float64 else np.float32)
    targets = np.where(case["targets"][n:] == IGNORED, reference.QUEUE_IGNORED, case["targets"][n:])
    return imbalanced_jax.Queue(
        logits, targets.astype(np.int32), case["weights"][n:].astype(logits.dtype), case["iid"][n:]
    )


def compare_ranking(plan: Plan, case: dict[str, Any], result: tuple) -> Errors:
    losses, valid, slopes = reference_ranking(plan, case)
    per_class, is_valid, gradient = result
    slopes = np.where(np.isfinite(case["logits"][: plan.shape[0]].T), slopes, 0.0)  # at infinity scores are clamped
    value = np.where(valid, np.abs(per_class - losses), 0.0)
    value = np.where((valid == is_valid) & (valid | np.isnan(per_class)), value, np.inf)
    scale = np.abs(slopes).max(axis=1, initial=0.0) + 1e-3 / case["temperature"] / plan.shape[0] + 1e-6
    error = np.abs(gradient - slopes).max(axis=1, initial=0.0) / scale
    return _errors(plan, value, error)


# ---------------------------------------------------------------------------------------------------- pointwise losses


def draw_pointwise(plan: Plan, rng: np.random.Generator) -> dict[str, Any]:
    """Logits [n, C] and targets: labels or numbers per logit, or class ids or probabilities per row."""
    logits = draw_logits(rng, plan.shape, plan.dtype)
    n, classes = plan.shape
    kind = plan.kind  # hard labels, soft ones, or hard ones with label smoothing
    if plan.case.kind == "labels":
        targets = rng.random(plan.shape) if kind == "soft" else rng.random(plan.shape) < 0.3
        targets = targets.astype(np.float64 if plan.dtype == "float64" else np.float32)
    elif plan.case.kind == "lists":
        targets = rng.integers(0, 4, plan.shape)
        targets = targets * np.float32(0.7) if kind == "soft" else targets
    elif kind == "soft":
        targets = rng.dirichlet(np.full(classes, 0.5), n).astype(np.float64 if plan.dtype == "float64" else np.float32)
    else:
        targets = rng.integers(0, classes, n)
    takes_part = rng.random(plan.shape if plan.case.has_label_of_each else n) < rng.choice([0.8, 1.0])
    if kind == "soft" and plan.case.kind == "ids":
        takes_part[:] = True
    logits[~takes_part] = rng.choice([np.nan, np.inf, 1.0])
    return {
        "logits": logits,
        "targets": np.where(takes_part, targets, targets.dtype.type(IGNORED))
        if targets.shape == takes_part.shape
        else targets,
        "where": takes_part,
        "weights": draw_weights(rng, n),
        "options": plan.case.draw(rng, classes),
    }


def reference_pointwise(plan: Plan, case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Weighted losses of every position, and their derivatives by all its logits [..., C] (sigmoid: its own)."""
    function, options = plan.case.definition, dict(case["options"])
    if plan.case.kind == "lists":
        rows = zip(*(case[name] for name in ("logits", "targets", "where")), strict=True)
        lists = [function(x.astype(np.float64), y.astype(np.float64), where=m, **options) for x, y, m in rows]
        weights = case["weights"].astype(np.float64)
        return weights * [found[0] for found in lists], weights[:, None] * [found[2] for found in lists]
    if "where" in inspect.signature(function).parameters:  # entries that compete with others
        options["where"] = case["where"]
    where, by_logit = case["where"], plan.case.kind == "labels"
    x = case["logits"].astype(np.float64)
    x[~where] = 0.0
    y = case["targets"].astype(np.float64 if by_logit or case["targets"].ndim == 2 else np.int64)
    y = np.where(where, y, 0) if y.ndim == where.ndim else y
    weights = case["weights"][:, None] if by_logit else case["weights"]
    factor = np.where(where, weights, 0.0)
    with np.errstate(all="ignore"):
        losses = function(x, y, **options) * factor
        steps = (
            [np.ones(x.shape)]
            if by_logit
            else [reference.one_hot(np.full(len(x), c), x.shape[1]) for c in range(x.shape[1])]
        )
        slopes = [np.imag(function(x + 1e-30j * step, y, **options)) / 1e-30 * factor for step in steps]
    return losses, slopes[0] if by_logit else np.stack(slopes, axis=-1)


def _call_pointwise_torch(plan: Plan, case: dict[str, Any]) -> tuple:
    options = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in case["options"].items()
    }
    loss_fn = plan.case.in_torch(reduction="none", **options)
    x = torch.from_numpy(case["logits"].copy()).to(getattr(torch, plan.dtype)).requires_grad_()
    losses = loss_fn(x, torch.from_numpy(case["targets"]), sample_weight=torch.from_numpy(case["weights"]))
    losses.sum().backward()
    return losses.detach().double().numpy(), x.grad.double().numpy()


def _call_pointwise_jax(plan: Plan, case: dict[str, Any]) -> tuple:
    x = jnp.asarray(case["logits"], dtype=plan.dtype)
    arrays = [jnp.asarray(case[name]) for name in ("targets", "where", "weights")]
    losses, gradient = _compiled_pointwise(plan)(x, *arrays, case["options"])
    return np.asarray(losses, np.float64), np.asarray(gradient, np.float64)


@cache
def _compiled_pointwise(plan: Plan) -> Callable:
    def total(x: Any, targets: Any, where: Any, weights: Any, options: dict) -> Any:
        losses = plan.case.in_jax(reduction="none")(x, targets, sample_weight=weights, **options)
        return jnp.sum(losses), losses

    def value_and_gradient(*arguments: Any) -> tuple:
        (_, losses), gradient = jax.value_and_grad(total, has_aux=True)(*arguments)
        return losses, gradient

    return jax.jit(value_and_gradient)


def compare_pointwise(plan: Plan, case: dict[str, Any], result: tuple) -> Errors:
    losses, slopes = reference_pointwise(plan, case)
    value, gradient = result
    # With probabilities, and in symmetric cross entropy, the power and the derivative by the largest logit are computed
    # from differences of numbers near 1. Otherwise errors are relative even for the smallest numbers, unless squares
    # underflow.
    is_soft = plan.kind == "soft" or "label_smoothing" in plan.case.options
    mixes = plan.case.mixes_probabilities or (plan.case.kind == "ids" and is_soft)
    weights = case["weights"][:, None] if plan.case.kind == "labels" else case["weights"]
    smallest = plan.case.smallest * weights
    error = np.abs(value - losses) / (np.abs(losses) + smallest + (1e-10 if mixes else 1e-30))
    size = np.abs(slopes) if plan.case.kind == "labels" else np.abs(slopes).max(axis=-1)
    scale = size + 0.01 * np.abs(losses) + (1e-17 if plan.dtype in ("float32", "float64") else 1e-4)  # half underflows
    scale = scale + smallest
    if mixes:
        options = plan.case.options | case["options"]
        scale = scale + 2e-3 * case["weights"] * (1 + max(np.max(x) for x in options.values()))
    of_gradient = np.abs(gradient - slopes)
    of_gradient = (of_gradient if plan.case.kind == "labels" else of_gradient.max(axis=-1)) / scale
    return _errors(plan, error.reshape(-1), of_gradient.reshape(-1))


def _errors(plan: Plan, value: np.ndarray, gradient: np.ndarray) -> Errors:
    bad = np.inf
    return Errors(
        np.nan_to_num(value, nan=bad, posinf=bad), np.nan_to_num(gradient, nan=bad, posinf=bad), plan.tolerance
    )


def run(plan: Plan, library: str, seed: int) -> Errors:
    """Draws one batch and compares."""
    if plan.case.ranks:
        draw, call_torch, call_jax, compare = draw_ranking, _call_ranking_torch, _call_ranking_jax, compare_ranking
    else:
        draw, call_torch, call_jax = draw_pointwise, _call_pointwise_torch, _call_pointwise_jax
        compare = compare_pointwise
    case = draw(plan, np.random.default_rng(seed))
    return compare(plan, case, (call_torch if library == "torch" else call_jax)(plan, case))
