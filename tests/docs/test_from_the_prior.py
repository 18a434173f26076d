"""The examples that compare losses with BCE from the prior: what they print, and the average precision they expect."""

import many_labels
import numpy as np
import pixels
import prior_common
import pytest
import sampler_on_noise
import torch
from as_users import settings_of_users  # noqa: F401  (used by every test here)
from sklearn.metrics import average_precision_score


def table_of(printed, methods):
    """The means of a printed table, after checking its rows: [method, column]."""
    lines = printed.splitlines()
    assert lines[0].startswith("average precision")
    assert [line[:28].rstrip() for line in lines[1 : len(methods) + 1]] == methods
    assert "[" not in lines[1 + methods.index(prior_common.BASELINE)]
    starts = range(28, len(lines[0]), 34)
    means = np.array([[float(line[start : start + 9]) for start in starts] for line in lines[1 : len(methods) + 1]])
    assert (means > 0).all()
    assert (means < 1).all()
    return means


@pytest.mark.parametrize("noise", [[], ["--noise"]])
def test_pixels(noise, monkeypatch, capsys):
    monkeypatch.setattr(pixels, "TEST", 10)
    pixels.main(["--seeds", "2", "--steps", "2", *noise])
    printed = capsys.readouterr().out
    assert table_of(printed, pixels.METHODS).shape == (9, 1)
    assert ("wrong masks" in printed) == bool(noise)
    assert printed.splitlines()[-1].startswith("learning rates: BCE 0.0")


def test_the_wrong_masks():
    _, masks = pixels.images(0, 400)
    wrong = pixels.with_errors(masks, 0)
    assert 0.013 < masks.any(axis=1).mean() < 0.023
    there, missing = masks.any(axis=(2, 3)), ~wrong.any(axis=(2, 3))
    assert missing[there].mean() == pytest.approx(1 / 6, abs=0.05)
    assert not wrong[~there].any()
    moved = (masks != wrong).any(axis=(2, 3)) & ~missing
    assert moved.any(axis=1).sum() < 400 / 3


def test_a_sampler_on_noise(monkeypatch, capsys):
    monkeypatch.setattr(sampler_on_noise, "TEST", 1000)
    sampler_on_noise.main(["--seeds", "2", "--steps", "9", "--rows", "800", "--positive", "0.01"])
    printed = capsys.readouterr().out
    assert table_of(printed, sampler_on_noise.METHODS).shape == (14, 2)
    assert printed.splitlines()[-1] == "the sampler adds each positive 4 times, 0.7 epochs"


def test_many_labels(monkeypatch, capsys):
    monkeypatch.setattr(many_labels, "TEST", 1000)
    monkeypatch.setattr(many_labels, "TRAINING", 400)
    many_labels.main(["--seeds", "2", "--steps", "2", "4"])
    first, second = capsys.readouterr().out.rstrip().split("\n\n")
    assert table_of(first, many_labels.METHODS).shape == table_of(second, many_labels.METHODS).shape == (9, 2)
    assert "clean labels, 4 steps" in first
    assert "noisy labels, 2 steps" in second


def test_the_expected_average_precision():
    rng = np.random.default_rng(0)
    scores, probability = rng.standard_normal(300), rng.random(300) ** 4
    labels = (probability > 0.5).astype(float)
    assert prior_common.expected_ap(scores, labels) == pytest.approx(average_precision_score(labels, scores))
    drawn = [average_precision_score(rng.random(300) < probability, probability) for _ in range(400)]
    assert prior_common.expected_ap(probability, probability) == pytest.approx(np.mean(drawn), abs=0.02)


def test_a_start_at_the_prior():
    last = torch.nn.Linear(3, 2)
    prior_common.start_at(last, torch.tensor([0.01, 0.2]))
    assert torch.sigmoid(last.bias).tolist() == pytest.approx([0.01, 0.2])
    prior_common.start_at(last, 0.05)
    assert torch.sigmoid(last.bias).tolist() == pytest.approx([0.05, 0.05])
    prior_common.start_at(last, 0.05, factor=2.0)
    assert last.bias.tolist() == pytest.approx([-2 * np.log(19)] * 2)


def test_an_interval():
    assert prior_common.interval(np.array([0.1, 0.3])) == "+0.200 [-1.071, +1.471]"  # 12.706 · 0.1


@pytest.mark.parametrize(
    ("example", "arguments", "message"),
    [
        (pixels, ["--seeds", "1"], "--seeds must be at least 2"),
        (pixels, ["--steps", "0"], "--steps at least 1"),
        (sampler_on_noise, ["--seeds", "1"], "--seeds must be at least 2"),
        (sampler_on_noise, ["--rows", "100"], "4 must be positive"),
        (many_labels, ["--steps", "5", "5"], "two increasing numbers"),
    ],
)
def test_bad_arguments(example, arguments, message, capsys):
    with pytest.raises(SystemExit):
        example.main(arguments)
    assert message in capsys.readouterr().err
