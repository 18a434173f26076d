"""The runs of the study: all splits and learning rates of a problem in one compiled call, and the file of results.

Every method is trained with the same learning rates on every split. For each split, the learning rate with the best
average precision on the validation rows is reported, on the test rows.
"""

import csv
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from .methods import LOSSES, TORCH, TREES, initial_state
from .problems import Problem, Split, Training

_ROWS = (6144, 20_000, 340_000)  # rows and columns are padded to one of a few sizes: one compilation for many sets
_COLUMNS = (16, 64, 160)
_LANES = 10  # networks trained at a time: their pairs of scores fit in the cache


class Lane(NamedTuple):
    """One network: the arrays have a leading axis of lanes."""

    seed: Any
    learning_rate: Any
    rows: Any  # training rows, padded, [n]
    count: Any  # number of real training rows
    mean: Any  # means of the features of these rows, [d]
    scale: Any  # 1 / their standard deviations


class Figures(NamedTuple):
    """The reported figures of a split."""

    learning_rate: float  # the selected learning rate
    valid_ap: float
    ap: float
    auc: float
    recalls: tuple[float, ...]  # at the false-positive rates of the problem


def run(problem: Problem, method: str) -> list[Figures]:
    """Figures of each split."""
    others = {TREES: trees, TORCH: in_torch}
    choices = others[method](problem) if method in others else networks(problem, method)
    figures = []
    for split, (rates, scores) in zip(problem.splits, choices, strict=True):
        found = [average_precision_score(problem.y[split.valid], s[split.valid]) for s in scores]
        best = int(np.argmax(found))
        ap, auc, *recalls = measure(problem.y[split.test], scores[best][split.test], problem.training.rates)
        figures.append(Figures(rates[best], found[best], ap, auc, tuple(recalls)))
    return figures


def measure(y: np.ndarray, scores: np.ndarray, rates: tuple[float, ...]) -> list[float]:
    """AP, AUC, and the largest recall with at most each of these fractions of the negatives flagged."""
    false, found, _ = roc_curve(y, scores, drop_intermediate=False)
    recalls = (found[false <= rate].max() for rate in rates)
    return [float(x) for x in (average_precision_score(y, scores), roc_auc_score(y, scores), *recalls)]


def trees(problem: Problem) -> list[tuple[list[float], np.ndarray]]:
    """Per split: learning rates, and the scores of all rows, [trials, n]."""
    rates = [0.03, 0.1, 0.3][: len(problem.training.learning_rates)]
    choices = []
    for number, split in enumerate(problem.splits):
        if number and split is problem.splits[number - 1]:
            choices.append(choices[-1])  # the same rows: only the weights of networks are redrawn
            continue
        scores = []
        for rate in rates:
            model = HistGradientBoostingClassifier(learning_rate=rate, early_stopping=False, random_state=number)
            model.fit(problem.x[split.train], problem.y[split.train])
            scores.append(model.decision_function(problem.x))
        choices.append((rates, np.stack(scores)))
    return choices


def in_torch(problem: Problem) -> list[tuple[list[float], np.ndarray]]:
    """As `networks`, with the preset of partial AUC in PyTorch."""
    from .in_torch import train  # PyTorch need not be installed for the rest

    rates, training = list(problem.training.learning_rates), problem.training
    choices = []
    for seed, split in enumerate(problem.splits):
        lanes = [lane(split, seed, rate, problem.x) for rate in rates]
        choices.append((rates, np.stack([train(problem.x, problem.y, each, training) for each in lanes])))
    return choices


def networks(problem: Problem, method: str) -> list[tuple[list[float], np.ndarray]]:
    """Per split: learning rates, and the scores of all rows, [trials, n]."""
    n, d = problem.x.shape
    rows, columns = next(r for r in _ROWS if r >= n), next(c for c in _COLUMNS if c >= d)
    x = np.pad(problem.x, ((0, rows - n), (0, columns - d)))
    y = np.pad(problem.y, (0, rows - n))
    rates = list(problem.training.learning_rates)
    lanes = [lane(split, s, rate, x) for s, split in enumerate(problem.splits) for rate in rates]
    together = [lanes[start : start + _LANES] for start in range(0, len(lanes), _LANES)]
    together[-1] += lanes[:1] * (_LANES - len(together[-1]))
    steps, decay = problem.training.steps, problem.training.weight_decay
    form = problem.training._replace(steps=0, learning_rates=(), weight_decay=0.0, rates=())  # what is compiled
    x, y = jnp.asarray(x), jnp.asarray(y)
    stacked = [Lane(*(np.stack(arrays) for arrays in zip(*part, strict=True))) for part in together]
    parts = [train(x, y, part, d, steps, decay, method=method, training=form)[:, :n] for part in stacked]
    scores = np.nan_to_num(np.concatenate(parts)[: len(lanes)], nan=-np.inf, neginf=-1e30, posinf=1e30)
    scores = np.maximum(scores, -1e30)
    return [(rates, part) for part in scores.reshape(len(problem.splits), len(rates), n)]


def lane(split: Split, seed: int, rate: float, x: np.ndarray) -> Lane:
    features = x[split.train]
    rows = np.pad(split.train, (0, len(x) - len(split.train))).astype(np.int32)
    spread = features.std(0)
    scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0.0).astype(np.float32)
    return Lane(np.int32(seed), np.float32(rate), rows, np.int32(len(split.train)), features.mean(0), scale)


@partial(jax.jit, static_argnames=("method", "training"))
def train(
    x: jax.Array, y: jax.Array, lanes: Lane, features: int, steps: int, decay: float, *, method: str, training: Training
) -> jax.Array:
    """The scores of all rows by the network of each lane, [lanes, n]; independent of the padding.

    Args:
        x: [n, d], the last rows and columns may be padding.
        y: [n].
        lanes: the data and settings of each network.
        features: number of real columns.
        steps: of the optimizer.
        decay: of the weights.
        method: a name of `methods.LOSSES`.
        training: budget, network, batch and queue.
    """
    loss = partial(LOSSES[method], budget=training.budget)
    shape = (x.shape[1], *training.hidden, 1)

    def trained(lane: Lane) -> list:
        key = jax.random.key(lane.seed)
        cosine = lambda t: lane.learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * t / steps))  # noqa: E731
        optimizer = optax.adamw(cosine, weight_decay=decay)
        parameters = initial(key, shape, features)

        def step(i: jax.Array, carry: tuple) -> tuple:
            parameters, moments, state = carry
            rows = lane.rows[drawn(key, i, training.batch, lane.count)]

            def objective(parameters: list) -> tuple:
                return loss(network(parameters, (x[rows] - lane.mean) * lane.scale), y[rows], state)

            gradients, state = jax.grad(objective, has_aux=True)(parameters)
            updates, moments = optimizer.update(gradients, moments, parameters)
            return optax.apply_updates(parameters, updates), moments, state

        start = parameters, optimizer.init(parameters), initial_state(training.queue)
        return jax.lax.fori_loop(0, steps, step, start)[0]

    def scores(found: tuple) -> jax.Array:
        parameters, lane = found
        return network(parameters, (x - lane.mean) * lane.scale)[:, 0]

    return jax.lax.map(scores, (jax.vmap(trained)(lanes), lanes))


def drawn(key: jax.Array, step: jax.Array, batch: int, count: jax.Array) -> jax.Array:
    """Indices of the training rows in the batch of a step."""
    return jax.random.randint(jax.random.fold_in(key, step), (batch,), 0, count)


def initial(key: jax.Array, shape: tuple[int, ...], features: jax.Array) -> list:
    fans = (features, *shape[1:])  # the padding contributes nothing
    layers = zip(jax.random.split(key, len(shape) - 1), pairwise(shape), fans[:-1], strict=True)
    return [(jax.random.normal(k, size) * (2 / fan) ** 0.5, jnp.zeros(size[1])) for k, size, fan in layers]


def network(parameters: list, x: jax.Array) -> jax.Array:
    for weight, bias in parameters[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    return x @ parameters[-1][0] + parameters[-1][1]


class Store:
    """The file of finished runs: one line for each split of a problem and method. Truncated lines are ignored.

    Columns: problem, method, split, learning rate, AP on validation, AP, AUC, and the recalls on the test rows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, problem: str, method: str, figures: list[Figures]) -> None:
        """Stores the figures of all splits."""
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for number, row in enumerate(figures):
                numbers = (row.learning_rate, row.valid_ap, row.ap, row.auc, *row.recalls)
                writer.writerow([problem, method, number, *(f"{x:.5g}" for x in numbers), len(figures)])

    def read(self) -> dict[tuple[str, str], list[Figures]]:
        """Problem and method to the figures of its splits, if all are there."""
        found: dict[tuple[str, str], list] = {}
        if not self.path.exists():
            return {}
        with self.path.open(newline="") as file:
            for row in csv.reader(file):
                if len(row) < 9 or not row[-1].isdigit():
                    continue
                key, (rate, valid, ap, auc, *recalls) = (row[0], row[1]), map(float, row[3:-1])
                found.setdefault(key, [None] * int(row[-1]))[int(row[2])] = Figures(rate, valid, ap, auc, (*recalls,))
        return {key: rows for key, rows in found.items() if None not in rows}
