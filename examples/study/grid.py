"""Can a preset end below weighted cross entropy? Rare positives whose labels are noisy, on a grid of problems.

    python -m examples.preset_grid --quick      # every sixth problem, two seeds
    python -m examples.preset_grid --output docs/study/preset_grid.csv > docs/study/preset_grid.txt
    python -m examples.preset_grid --fresh --output docs/study/preset_fresh.csv > docs/study/preset_fresh.txt
    python -m examples.preset_grid --remedies --output docs/study/remedies.csv > docs/study/remedies.txt
    python -m examples.preset_grid --steps 100  # short training; the default is 1000 steps
    python -m examples.preset_grid --sgd 0.03   # SGD with momentum 0.9 at this learning rate, in place of AdamW

A label is positive with probability σ(a f(x) + b), f a fixed function of three of ten features. a and b are solved for
the share of positives and the AUC of the best possible score, f itself. Average precision (AP) and AUC on 50 000 test
rows are expectations over the labels, whose probabilities are known: few positives add no noise. A network with two
hidden layers of 32 trains for 1000 steps of 512 of the 100 000 training rows. Finished runs are kept in a file, and a
rerun goes on from there.
"""

import argparse
import csv
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.optimize import brentq
from scipy.stats import t as student
from tqdm import tqdm

from .methods import LOSSES, POINTWISE, PRESETS, TORCH, Loss, cross_entropy, initial_state, pairs, smooth_ap
from .problems import Training
from .runs import Lane, initial, network

ROWS, TEST_ROWS, FEATURES, HIDDEN, STEPS, BATCH, DECAY = 100_000, 50_000, 10, 32, 1000, 512, 0.01


class Cell(NamedTuple):
    """A problem and the training settings of its network."""

    positive: float  # share
    auc: float  # of the best possible score
    budget: float  # false-positive rate
    learning_rate: float
    queue: int
    head: float  # scale of the last layer's initial weights


CELLS = [
    Cell(0.001, 0.75, 0.001, 3e-3, 1024, 1.0),
    Cell(0.001, 0.85, 0.01, 1e-2, 0, 0.0),
    Cell(0.001, 0.92, 0.1, 3e-4, 1024, 1.0),
    Cell(0.001, 0.92, 0.001, 3e-3, 0, 1.0),
    Cell(0.001, 0.99, 0.01, 3e-3, 1024, 0.0),
    Cell(0.001, 0.99, 0.001, 1e-2, 1024, 1.0),
    Cell(0.01, 0.75, 0.01, 3e-3, 0, 1.0),
    Cell(0.01, 0.85, 0.1, 3e-4, 1024, 0.0),
    Cell(0.01, 0.85, 0.001, 1e-2, 1024, 1.0),
    Cell(0.01, 0.92, 0.01, 3e-3, 1024, 1.0),
    Cell(0.01, 0.99, 0.001, 3e-4, 0, 0.0),
    Cell(0.01, 0.99, 0.01, 3e-3, 1024, 1.0),
    Cell(0.1, 0.75, 0.001, 3e-3, 1024, 1.0),
    Cell(0.1, 0.75, 0.1, 1e-2, 0, 0.0),
    Cell(0.1, 0.85, 0.01, 3e-3, 1024, 1.0),
    Cell(0.1, 0.92, 0.1, 3e-4, 0, 1.0),
    Cell(0.1, 0.92, 0.01, 1e-2, 1024, 0.0),
    Cell(0.1, 0.99, 0.01, 3e-3, 1024, 1.0),
]

# Drawn at random, to evaluate on problems, data and seeds on which nothing was tuned.
_random = np.random.default_rng(2026)
FRESH = [
    Cell(
        round(10 ** _random.uniform(-3, -1), 3),
        round(_random.uniform(0.75, 0.99), 2),
        round(10 ** _random.uniform(-3, -1), 3),
        float(f"{10 ** _random.uniform(-3.5, -2):.0e}"),
        int(_random.choice([0, 1024])),
        float(_random.choice([0.0, 1.0])),
    )
    for _ in range(12)
]

REFERENCE = "weighted BCE"
REFERENCES = (REFERENCE, "BCE from the prior")
OTHERS = ("√-weighted BCE", "BCE", "BCE from the prior", "pairs alone", *PRESETS, TORCH)

# Remedies for a collapse, with noisy labels and with a learnable ranking.
REMEDIED = [Cell(0.002, 0.915, 0.005, 3e-3, 1024, 1.0), Cell(0.01, 0.998, 0.005, 3e-3, 1024, 1.0)]
SHIFTED: dict[str, Loss] = {"BCE from 1.5 × the prior": partial(cross_entropy, shift=1.5)}
VARIANTS: dict[str, Loss] = {
    "pairs, 0.3 std": partial(pairs, temperature=0.3),
    "pairs, band × 5": partial(pairs, band=10.0),
    "pairs, band × 5, margin 1": partial(pairs, band=10.0, margin=1.0),
    "Smooth-AP alone": smooth_ap,
}
REMEDIES = (
    REFERENCE,
    "BCE from the prior",
    *SHIFTED,
    "pairs alone",
    "pairs, 0.3 std",
    "pairs, band × 5",
    "pairs, band × 5, margin 1",
    "weighted BCE + pairs",
    "pAUC preset",
    "Smooth-AP alone",
    "weighted BCE + Smooth-AP",
    "Smooth-AP preset",
)

# --- data, training and metrics ---------------------------------------------------------------------------------------


def logits_of(x: np.ndarray, a: float, b: float) -> np.ndarray:
    return np.clip(a * (1.5 * x[..., 0] + x[..., 1] * x[..., 2]) / 3.25**0.5 + b, -60, 60)


@lru_cache
def slope_and_intercept(auc: float, positive: float, rows: int = 100_000) -> tuple[float, float]:
    """The numbers a and b of a problem."""
    x = np.random.default_rng(5).standard_normal((rows, 3))

    def share(b: float, a: float) -> float:
        return np.mean(1 / (1 + np.exp(-logits_of(x, a, b)))) - positive

    def excess(a: float) -> float:
        p = np.sort(1 / (1 + np.exp(-logits_of(x, a, brentq(share, -400, 50, args=(a,))))))
        return np.sum(p * np.cumsum(1 - p)) / p.sum() / (1 - p).sum() - auc

    a = brentq(excess, 0.05, 80, rtol=1e-4)
    return a, brentq(share, -400, 50, args=(a,))


@lru_cache(maxsize=8)
def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features, and the uniform random numbers that determine the labels."""
    random = np.random.default_rng(seed)
    return random.standard_normal((ROWS, FEATURES)).astype(np.float32), random.random(ROWS)


@partial(jax.jit, static_argnames=("steps", "sgd", "method", "budget", "queue"))
def train(
    x: jax.Array,
    y: jax.Array,
    seed: int,
    rate: float,
    head: float,
    *,
    steps: int,
    sgd: bool,
    method: str,
    budget: float,
    queue: int,
) -> list:
    """Trains a network and returns its parameters."""
    key, loss = jax.random.key(seed), partial((LOSSES | SHIFTED | VARIANTS)[method], budget=budget)
    decaying = lambda t: rate * 0.5 * (1 + jnp.cos(jnp.pi * t / steps))  # noqa: E731
    optimizer = optax.sgd(decaying, momentum=0.9) if sgd else optax.adamw(decaying, weight_decay=DECAY)
    *hidden, last = initial(key, (FEATURES, HIDDEN, HIDDEN, 1), FEATURES)
    parameters = [*hidden, (head * last[0], last[1])]

    def step(carry: tuple, i: jax.Array) -> tuple:
        parameters, moments, state = carry
        rows = jax.random.randint(jax.random.fold_in(key, i), (BATCH,), 0, ROWS)
        objective = lambda p: loss(network(p, x[rows]), y[rows], state)  # noqa: E731
        gradients, state = jax.grad(objective, has_aux=True)(parameters)
        updates, moments = optimizer.update(gradients, moments, parameters)
        return (optax.apply_updates(parameters, updates), moments, state), None

    return jax.lax.scan(step, (parameters, optimizer.init(parameters), initial_state(queue)), jnp.arange(steps))[0][0]


def train_in_torch(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, seed: int, cell: Cell, steps: int) -> np.ndarray:
    """The scores of the test rows by a network trained on the preset of partial AUC in PyTorch."""
    from .in_torch import train  # PyTorch need not be installed for the rest

    training = Training(cell.budget, (), (HIDDEN, HIDDEN), BATCH, cell.queue, steps, weight_decay=DECAY)
    lane = Lane(seed, cell.learning_rate, np.arange(ROWS), ROWS, mean=np.float32(0.0), scale=np.float32(1.0))
    return train(np.concatenate([x, x_test]), y, lane, training, head=cell.head)[ROWS:]


@jax.jit
def metrics(scores: jax.Array, probability: jax.Array) -> tuple[jax.Array, jax.Array]:
    """AP and AUC, expected over labels of these probabilities."""
    p = probability[jnp.argsort(-scores)]
    hits = jnp.cumsum(p)
    ap = jnp.sum(p * hits / jnp.arange(1, len(p) + 1)) / hits[-1]
    return ap, jnp.sum((1 - p) * (hits - p / 2)) / hits[-1] / jnp.sum(1 - p)


def run(cell: Cell, method: str, seed: int, steps: int, *, sgd: bool = False) -> tuple[float, float, float, float]:
    """AP of the best possible score; AP, AUC and spread (one standard deviation) of the scores of a trained network."""
    a, b = slope_and_intercept(cell.auc, cell.positive)
    x, noise = draw(seed)
    y = (noise < 1 / (1 + np.exp(-logits_of(x, a, b)))).astype(np.int32)
    x_test = np.random.default_rng(999).standard_normal((TEST_ROWS, FEATURES)).astype(np.float32)
    p_test = (1 / (1 + np.exp(-logits_of(x_test, a, b)))).astype(np.float32)
    if method == TORCH:
        scores = train_in_torch(x, y, x_test, seed, cell, steps)
    else:
        # 0 if unused: fewer compilations
        form = {
            "budget": cell.budget if "pairs" in method or "pAUC" in method else 0.0,
            "steps": steps,
            "sgd": sgd,
            "queue": 0 if method in (*POINTWISE, *SHIFTED) else cell.queue,
        }
        scores = network(train(x, y, seed, cell.learning_rate, cell.head, method=method, **form), x_test)[:, 0]
    return tuple(map(float, (metrics(p_test, p_test)[0], *metrics(scores, p_test), jnp.std(scores))))


# --- runs and report --------------------------------------------------------------------------------------------------


def name_of(cell: Cell) -> str:
    queue, head = cell.queue or "none", "usual" if cell.head else "zero"
    problem = f"{cell.positive:.1%} {cell.auc:5.2f} {cell.budget:7.1%}"
    return f"{problem} {cell.learning_rate:7.0e} {queue:>5} {head:>5}"


def finished(path: Path) -> dict[tuple[str, str, str], list[float]]:
    """(cell, method, seed) to figures."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {tuple(row[:3]): [float(x) for x in row[3:]] for row in csv.reader(file) if len(row) == 7}


def report(cells: list[Cell], seeds: range, runs: dict) -> str:
    """The tables: AP of each cell as a multiple of weighted BCE's, then the means over cells."""
    found = [name for name in OTHERS if any(name == method for _, method, _ in runs)]
    lines = [f"{'positive':>8} {'AUC':>5} {'budget':>7} {'rate':>7} {'queue':>5} {'head':>5}"]
    lines[0] += f" | {'best':>6} {REFERENCE:>12} |" + "".join(f"{name:>{len(name) + 2}}" for name in found)
    for cell in cells:
        reference = of_seeds(runs, cell, REFERENCE, seeds)
        if reference is not None:
            best, ap = reference[:, :2].mean(0)
            line = f"{name_of(cell):>42} | {best:6.4f} {ap:12.4f} |"
            ratios = ratios_of([cell], seeds, runs, REFERENCE)
            cells_of_line = (f"{ratios[name][0]:.2f}" if name in ratios else "-" for name in found)
            widths = (len(name) + 2 for name in found)
            lines.append(line + "".join(x.rjust(width) for x, width in zip(cells_of_line, widths, strict=True)))
    return "\n".join([*lines, *(line for name in REFERENCES for line in summary(cells, seeds, runs, name))])


def compare(cells: list[Cell], seeds: range, runs: dict) -> str:
    """The table of the remedies: AP of each method in each cell with all seeds, and the least spread."""
    lines = []
    for cell in cells:
        found = {name: rows for name in REMEDIES if (rows := of_seeds(runs, cell, name, seeds)) is not None}
        best = next((rows[0, 0] for rows in found.values()), np.nan)
        lines.append(f"{cell.positive:.1%} positive, best AUC {cell.auc}, best AP {best:.3f}, budget {cell.budget:.1%}")
        lines += ["", f"{'':27}{'AP':>6}  {'of each seed':{6 * len(seeds)}} {'least spread':>12}"]
        for name, rows in found.items():
            each = "".join(f"{ap:6.3f}" for ap in rows[:, 1])
            lines.append(f"{name:27}{rows[:, 1].mean():6.3f}  {each} {rows[:, 3].min():12.3f}")
        lines.append("")
    return "\n".join(lines)


def summary(cells: list[Cell], seeds: range, runs: dict, reference: str) -> list[str]:
    """The geometric mean of each method's multiples of a reference's AP, its interval, and the least spread."""
    found = {name: ratios for name, ratios in ratios_of(cells, seeds, runs, reference).items() if len(ratios) > 1}
    lines = ["", f"{'AP / AP of ' + reference:30}{'problems':>9}{'mean':>7} {'95% interval':>16} {'least':>7}"]
    lines[-1] += f" {'least spread':>14}"
    for name, ratios in found.items():
        log = np.log(ratios)
        half = student.ppf(0.975, len(log) - 1) * log.std(ddof=1) / len(log) ** 0.5
        low, mean, high = np.exp([log.mean() - half, log.mean(), log.mean() + half])
        line = f"{name:30}{len(log):9}{mean:7.3f} {f'[{low:.3f}, {high:.3f}]':>16} {min(ratios):7.3f}"
        spreads = [rows[:, 3].min() for cell in cells if (rows := of_seeds(runs, cell, name, seeds)) is not None]
        lines.append(f"{line} {min(spreads):14.3f}")
    return lines if found else []


def ratios_of(cells: list[Cell], seeds: range, runs: dict, reference: str) -> dict[str, list[float]]:
    """The AP of each method run, except the reference, as multiples of the reference's, one per cell."""
    ratios: dict[str, list[float]] = {}
    for cell in cells:
        found = {name: of_seeds(runs, cell, name, seeds) for name in (REFERENCE, *OTHERS)}
        found = {name: rows[:, 1].mean() for name, rows in found.items() if rows is not None}
        for name in (name for name in found if reference in found and name != reference):
            ratios.setdefault(name, []).append(found[name] / found[reference])
    return ratios


def of_seeds(runs: dict, cell: Cell, method: str, seeds: range) -> np.ndarray | None:
    """The figures [seeds, 4] of a method in a cell; None if a seed is missing."""
    keys = [(name_of(cell), method, str(seed)) for seed in seeds]
    return np.array([runs[key] for key in keys]) if all(key in runs for key in keys) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every sixth problem, two seeds")
    parser.add_argument("--fresh", action="store_true", help="twelve problems drawn at random, seeds from 100 on")
    parser.add_argument("--remedies", action="store_true", help="what was tried against a collapse, on two problems")
    parser.add_argument("--report", action="store_true", help="only the table of the runs that are there")
    parser.add_argument("--seeds", type=int, default=5, help="networks per problem and method (5)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"training steps ({STEPS})")
    parser.add_argument("--sgd", type=float, metavar="RATE", help="learning rate of SGD with momentum, without PyTorch")
    parser.add_argument("--output", type=Path, help="the file of finished runs; for other steps or SGD, another file")
    options = parser.parse_args()
    name = "preset_grid.csv" if options.steps == STEPS else f"preset_grid_{options.steps}.csv"
    name = f"sgd_{name}" if options.sgd else name
    options.output = options.output or Path(__file__).parents[1] / "output" / name
    cells, first = (FRESH, 100) if options.fresh else (CELLS, 0)
    cells = REMEDIED if options.remedies else cells
    cells = [cell._replace(learning_rate=options.sgd) for cell in cells] if options.sgd else cells
    cells, seeds = (cells[1::6], 2) if options.quick else (cells, options.seeds)
    seeds = range(first, first + seeds)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    runs = finished(options.output)
    methods = REMEDIES if options.remedies else (REFERENCE, *OTHERS)
    methods = [name for name in methods if name != TORCH or (not (options.fresh or options.sgd) and find_spec("torch"))]
    jobs = [(cell, name, seed) for seed in seeds for cell in cells for name in methods]
    jobs = [job for job in jobs if not options.report and (name_of(job[0]), job[1], str(job[2])) not in runs]
    with options.output.open("a", newline="") as file:
        for cell, name, seed in tqdm(jobs, unit="run"):
            key, figures = (name_of(cell), name, str(seed)), run(cell, name, seed, options.steps, sgd=bool(options.sgd))
            runs[key] = figures = [float(f"{x:.6g}") for x in figures]
            csv.writer(file, lineterminator="\n").writerow([*key, *figures])
            file.flush()
    if options.remedies:
        print(compare(cells, seeds, runs))
        return
    print(
        f"Means of {len(seeds)} seeds; mean ratio: geometric, over problems, with interval; least spread: of a network."
    )
    print()
    print(report(cells, seeds, runs))
