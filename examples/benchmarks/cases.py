"""The cases to measure: each is a loss at a size, with its data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

RANKING = {  # loss: (name in tables, torch class, options other than the defaults)
    "smooth_ap": ("Smooth-AP", "SmoothAPLoss", {}),
    "recall": ("recall at quantile", "RecallAtQuantileLoss", {}),
    "trapezoid": ("partial AUC, trapezoid", "PAUCAtBudgetLoss", {"surrogate": "trapezoid"}),
    "pairwise": ("partial AUC, pairwise", "PAUCAtBudgetLoss", {"surrogate": "pairwise"}),
}
POINTWISE = {
    "sigmoid_focal": ("sigmoid focal", "SigmoidFocalLoss", {"alpha": 0.25, "gamma": 2.0, "reduction": "mean"}),
    "softmax_focal": ("softmax focal", "SoftmaxFocalLoss", {"gamma": 2.0, "reduction": "mean"}),
    "softmax_smooth": ("softmax focal, label smoothing", "SoftmaxFocalLoss", {"label_smoothing": 0.1}),
    "softmax_soft": ("softmax focal of probabilities", "SoftmaxFocalLoss", {}),
    "symmetric": ("symmetric cross entropy", "SymmetricCrossEntropyLoss", {}),
}
RETRIEVAL = {"retrieval": ("Smooth-AP of embeddings", None, {})}
LOSSES = RANKING | POINTWISE | RETRIEVAL
RATE = 0.05


@dataclass(frozen=True)
class Case:
    """A loss at a size.

    Attributes:
        loss: a key of LOSSES.
        shape: of the logits: [rows, classes] for a ranking loss, any for sigmoid focal, [N, C, *] for softmax focal,
            [embeddings, dimensions] for retrieval, where √embeddings classes have √embeddings members each.
        rate: the fraction of positives; None for class ids, all equally frequent.
        queue: queue size of a ranking loss; the queue is full when timing starts.
        compiled: whether torch.compile is also measured, which takes up to a minute.
        memory: whether peak memory is measured.
        quick: whether the case is part of a quick run.
    """

    loss: str
    shape: tuple[int, ...]
    rate: float | None = None
    queue: int = 0
    compiled: bool = False
    memory: bool = False
    quick: bool = False

    @property
    def name(self) -> str:
        """The name of the case in options and results."""
        size = "x".join(map(str, self.shape)) + (f"+{self.queue}" if self.queue else "")
        return f"{self.loss}:{size}" + ("" if self.rate is None else f":{100 * self.rate:g}%")

    @property
    def title(self) -> str:
        """The name of the loss in words."""
        return LOSSES[self.loss][0]

    @property
    def setting(self) -> str:
        """The size in words."""
        sizes = [size_text(size) for size in self.shape]
        if self.loss == "retrieval":
            return f"{sizes[0]} embeddings in {sizes[1]} dimensions"
        if self.loss in RANKING:
            text = f"n = {sizes[0]}" if not self.queue else f"batch {sizes[0]}, queue {size_text(self.queue)}"
            text += "" if self.shape[1] == 1 else f", C = {sizes[1]}"
        else:
            text = f"[{', '.join(sizes)}]"
        return text if self.rate is None else f"{text}, {100 * self.rate:g}% positive"

    @property
    def items(self) -> int:
        """The number of logits the loss uses, including those of the queue."""
        return int(np.prod(self.shape)) + self.queue * (self.shape[1] if self.queue else 0)

    @property
    def pairs(self) -> float:
        """The number of pairs compared by a loss that visits all pairs; 0 for a loss without pairs."""
        if self.loss not in ("smooth_ap", "pairwise"):
            return 0
        n = self.shape[0] + self.queue
        compared = n if self.loss == "smooth_ap" else 0.005 * n  # the band
        return (self.rate or 1) * n * compared  # the classes of class ids share the positives


def size_text(size: int, *, least: int = 4096) -> str:
    """A number as text; powers of two from `least` on are written as powers."""
    if size < least or size & (size - 1):
        return f"{size:,}".replace(",", " ")
    return "2" + str(size.bit_length() - 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def all_cases() -> list[Case]:
    """Every case, grouped by loss."""
    return [*_smooth_ap(), *_other_rankings(), *_pointwise(), Case("retrieval", (256, 64))]


def _smooth_ap() -> Iterable[Case]:
    for n in (2**k for k in range(8, 21, 2)):
        largest = n == 2**20
        quick = n in (2**10, 2**14, 2**20)
        yield Case("smooth_ap", (n, 1), RATE, compiled=largest, memory=largest or n == 2**14, quick=quick)
    for rate in (0.005, 0.5):
        yield Case("smooth_ap", (2**14, 1), rate, memory=rate == 0.5)
    yield Case("smooth_ap", (2**14, 10), memory=True)
    for classes in (1, 4, 10):  # the defaults of the module
        rate = RATE if classes == 1 else None
        yield Case("smooth_ap", (32, classes), rate, queue=1024, compiled=True, quick=classes == 4)
    for classes in (10, 100, 1000):
        yield Case("smooth_ap", (1024, classes))


def _other_rankings() -> Iterable[Case]:
    for loss in ("recall", "trapezoid", "pairwise"):
        for n in (2**10, 2**15, 2**20):
            yield Case(loss, (n, 1), RATE)
        yield Case(loss, (1_000_000, 1), RATE, compiled=True, memory=True)
        yield Case(loss, (32, 4), queue=1024, compiled=True)  # the defaults of the module
    for loss in ("recall", "trapezoid"):
        yield Case(loss, (2**14, 100))


def _pointwise() -> Iterable[Case]:
    for n in (2**10, 2**16, 2**22):
        largest = n == 2**22
        yield Case("sigmoid_focal", (n,), RATE, compiled=largest, memory=largest, quick=n == 2**16)
    for shape in ((65536, 100), (4, 10, 256, 256), (1024, 1000)):
        yield Case("softmax_focal", shape, memory=shape == (65536, 100), quick=shape == (4, 10, 256, 256))
    for loss in ("softmax_smooth", "softmax_soft", "symmetric"):
        yield Case(loss, (512, 16000))
        yield Case(loss, (512, 32000), memory=True)


def select(cases: Sequence[Case], patterns: Sequence[str], *, quick: bool = False) -> list[Case]:
    """The cases whose names match one of the patterns; a pattern without a colon is the name of a loss.

    Raises:
        ValueError: if a pattern matches no case.
    """
    cases = [case for case in cases if case.quick or not quick]
    for pattern in patterns:
        if not any(_fits(case, pattern) for case in cases):
            raise ValueError(f"--cases must fit the name of a case (see --list), got {pattern!r}")
    return [case for case in cases if not patterns or any(_fits(case, pattern) for pattern in patterns)]


def _fits(case: Case, pattern: str) -> bool:
    return fnmatchcase(case.name if ":" in pattern else case.loss, pattern)


def make_batches(case: Case) -> list[tuple[np.ndarray, np.ndarray]]:
    """The float32 logits and targets of one batch, or of enough batches to fill the queue plus one.

    Logits have standard deviation 3; those of positives are higher by 2. Targets are 0 and 1 or class ids, int64;
    floats of the shape of the logits for sigmoid focal. For retrieval: embeddings and their classes, class by class.
    """
    rng = np.random.default_rng(0)
    count = 1 + -(-case.queue // case.shape[0])
    return [_make_batch(case, rng) for _ in range(count)]


def _make_batch(case: Case, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    logits = 3 * rng.standard_normal(case.shape, dtype=np.float32)
    if case.loss == "retrieval":
        members = round(case.shape[0] ** 0.5)
        classes = np.repeat(np.arange(members), members)
        return logits + 2 * rng.standard_normal((members, case.shape[1]), dtype=np.float32)[classes], classes
    if case.rate is not None:
        positive = rng.random(case.shape) < case.rate
        targets = positive.astype(np.float32) if case.loss == "sigmoid_focal" else positive[:, 0].astype(np.int64)
        return logits + 2 * positive.astype(np.float32), targets
    classes = rng.integers(0, case.shape[1], size=(case.shape[0], *case.shape[2:]))
    is_target = np.expand_dims(classes, 1) == np.arange(case.shape[1]).reshape(-1, *[1] * (len(case.shape) - 2))
    targets = 0.8 * is_target + 0.2 / case.shape[1] if case.loss == "softmax_soft" else classes
    return logits + 2 * is_target.astype(np.float32), targets.astype(np.float32 if targets.ndim == logits.ndim else int)
