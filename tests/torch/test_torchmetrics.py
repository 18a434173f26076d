"""The metrics as `torchmetrics.Metric`, and the functions on meta tensors."""

import sys
from functools import partial

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from imbalanced_core import metrics as core

pytest.importorskip("torchmetrics")
from torchmetrics import MetricCollection

from imbalanced_torch import metrics

CLASSES = {
    metrics.AveragePrecision: {},
    metrics.ROCAUC: {},
    metrics.TiedPairs: {},
    metrics.PartialAUC: {"beta": 0.2},
    metrics.CoverageAtBudget: {"budget": 0.1},
    metrics.RecallAtQuantile: {"quantile": 0.1},
    metrics.PrecisionAtK: {"k": 5},
}


def batches(rows=40, classes=3):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, classes, (rows,), generator=generator)
    targets[::7] = -100
    return logits, targets, torch.rand(rows, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("kind", "options"), CLASSES.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_stream_equals_all_rows(kind, options):
    logits, targets, weights = batches()
    metric = kind(3, average="none", **options)
    for rows in (slice(0, 13), slice(13, 14), slice(14, 40)):
        metric.update(logits[rows], targets[rows, None], weights[rows])
    function = partial(kind.function, **options)
    torch.testing.assert_close(
        metric.compute(), core.of_classes(function, logits, targets, average="none", weights=weights)
    )
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert metric.compute().isnan().all()


def test_collection_of_metrics_equals_scikit_learn():
    logits, targets, _ = batches()
    found = MetricCollection({"ap": metrics.AveragePrecision(3), "auc": metrics.ROCAUC(3)})
    found.update(logits, targets)
    keep = targets >= 0
    for name, reference in (("ap", average_precision_score), ("auc", roc_auc_score)):
        expected = sum(reference(targets[keep] == c, logits[keep, c]) for c in range(3)) / 3
        assert found.compute()[name].item() == pytest.approx(expected, rel=1e-12)


def test_binary_and_several_labels():
    logits, targets, _ = batches(classes=2)
    binary = metrics.ROCAUC(1)
    value = binary(logits[:, :1], (targets == 1)[:, None])
    assert value.item() == pytest.approx(roc_auc_score(targets == 1, logits[:, 0]))
    labels = torch.stack([targets == 0, targets == 1], dim=1).int()
    labels[:4, 0] = -100
    several = metrics.ROCAUC(2, multilabel=True, average="none")
    several.update(logits, labels)
    expected = [roc_auc_score(labels[4:, 0], logits[4:, 0]), roc_auc_score(labels[:, 1], logits[:, 1])]
    torch.testing.assert_close(several.compute(), torch.tensor(expected, dtype=torch.float64))


def test_bad_input_is_refused():
    metric = metrics.PrecisionAtK(3, k=2)
    logits, targets, weights = batches()
    with pytest.raises(ValueError, match=r"targets must be class ids in \[0, 3\)"):
        metric.update(logits, targets + 1000)
    with pytest.raises(ValueError, match=r"targets must be 0 or 1 or the ignore_index -100, got 2"):
        metrics.ROCAUC(1).update(logits[:, :1], targets)
    with pytest.raises(ValueError, match="logits must be of shape"):
        metric.update(logits[:, :2], targets)
    with pytest.raises(ValueError, match="targets must be of shape"):
        metric.update(logits, targets[1:])
    with pytest.raises(ValueError, match=r"targets must be of shape .* = \(40,\), got \(40, 3\); one-hot"):
        metric.update(logits, logits > 0)
    with pytest.raises(ValueError, match="sample_weight must be finite"):
        metric.update(logits, targets, -weights)
    with pytest.raises(ValueError, match="k must be"):
        metrics.PrecisionAtK(3, k=0)
    with pytest.raises(ValueError, match="Unexpected keyword"):
        metrics.PrecisionAtK(3, k=1, budget=0.1)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: `weights`"):
        metrics.PrecisionAtK(3, k=1, weights=weights)
    with pytest.raises(ValueError, match="multilabel must be True or False, got 'no'"):
        metrics.ROCAUC(3, multilabel="no")
    assert not metric.logits  # a rejected batch is not stored


@pytest.mark.parametrize("average", ["macro", "none"])
def test_plot(average):
    pytest.importorskip("matplotlib").use("agg")
    logits, targets, _ = batches()
    metric = metrics.ROCAUC(3, average=average)
    metric.update(logits, targets)
    _, axes = metric.plot()
    drawn = {float(line.get_ydata()[0]) for line in axes.lines}
    assert drawn >= set(metric.compute().reshape(-1).tolist())
    assert axes.get_ylim()[0] < 0 < 1 < axes.get_ylim()[1]


def test_weights_of_ignored_rows_do_not_matter():
    logits, targets, weights = batches()
    targets, metric = targets.where(weights > 0.2, -100), metrics.ROCAUC(3)
    metric.update(logits, targets, weights.where(weights > 0.2, torch.nan))
    torch.testing.assert_close(metric.compute(), core.of_classes(core.roc_auc, logits, targets, weights=weights))


def test_functions_never_wait_for_a_device():
    logits, targets = torch.empty(50, 4, device="meta"), torch.empty(50, dtype=torch.int64, device="meta")
    for kind, options in CLASSES.items():
        value = core.of_classes(partial(kind.function, **options), logits, targets, weights=logits[:, 0])
        assert value.shape == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0.1}, "`budget`; the options are beta, alpha, num_classes, average, multilabel, ignore_index, and"),
        ({"beta": 0.1, "averge": "none"}, "Unexpected keyword .*: `averge`; the options are beta, alpha, num_classes,"),
    ],
)
def test_unknown_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        metrics.PartialAUC(1, **options)
    with pytest.raises(ValueError, match="Expected keyword argument `dist_sync_on_step`"):
        metrics.PartialAUC(1, beta=0.1, dist_sync_on_step="yes")


def test_error_names_the_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "imbalanced_torch.metrics")
    with pytest.raises(ModuleNotFoundError, match="pip install torchmetrics"):
        import imbalanced_torch.metrics  # noqa: F401
