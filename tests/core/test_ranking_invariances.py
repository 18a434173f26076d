"""Transformations that leave the ranking objectives unchanged, and the meaning of weights and multiplicities."""

import numpy as np
import pytest
from losses import OBJECTIVES, every_objective_variant
from ranking_cases import (
    draw,
    options_of,
)


@every_objective_variant
def test_order_shift_and_scale_of_the_scores(rng, case):
    scores, positives = draw(rng, (3, 40))
    options = options_of(case, rng, scores.shape)
    options["live"] = np.broadcast_to(options["live"], scores.shape)
    expected = case.objective(scores, positives, **options)[0]
    order = rng.permutation(40)
    permuted = {key: value[:, order] for key, value in options.items()}
    np.testing.assert_allclose(
        case.objective(scores[:, order], positives[:, order], **permuted)[0], expected, rtol=1e-12
    )
    np.testing.assert_allclose(case.objective(scores + 100, positives, **options)[0], expected, rtol=1e-9)
    scaled = case.objective(scores * 1000, positives, **options)[0]
    assert np.allclose(scaled, expected, rtol=1e-9) != (case.scale == "absolute")


@every_objective_variant
@pytest.mark.parametrize("offset", [64, -64])
def test_an_offset_of_all_scores_costs_no_digits(rng, case, offset):
    scores, positives = draw(rng, (3, 40))
    scores = (np.round(scores * 4096) / 4096).astype(np.float32)  # so that the offset is exact
    where = rng.random((3, 40)) < 0.8
    loss = case.objective(scores, positives, where=where, temperature=0.01)[0]
    moved = case.objective(scores + np.float32(offset), positives, where=where, temperature=0.01)[0]
    np.testing.assert_allclose(moved, loss, rtol=1e-6, atol=1e-7)


@every_objective_variant
def test_rows_are_independent(rng, case):
    scores, positives = draw(rng, (2, 3, 30))
    options = options_of(case, rng, scores.shape)
    loss, valid, *_ = case.objective(scores, positives, **options)
    options["live"] = np.broadcast_to(options["live"], scores.shape)
    for index in np.ndindex(2, 3):
        row = {key: value[index] for key, value in options.items()}
        one, one_valid, *_ = case.objective(scores[index], positives[index], **row)
        assert one.shape == ()
        np.testing.assert_allclose(one, loss[index], rtol=1e-12)
        assert one_valid == valid[index]


@every_objective_variant
def test_vmap_is_a_batch_of_rows(rng, case):
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    scores, positives = draw(rng, (3, 30))
    where = rng.random((3, 30)) < 0.8
    expected = case.objective(scores, positives, where=where)[0]

    def row(s, p, w):
        return case.objective(s, p, where=w)[0]

    np.testing.assert_allclose(
        torch.func.vmap(row)(*map(torch.tensor, (scores, positives, where))), expected, rtol=1e-12
    )
    if case in OBJECTIVES:
        arrays = map(jax.numpy.asarray, (scores, positives, where))
        np.testing.assert_allclose(jax.jit(jax.vmap(row))(*arrays), expected, rtol=1e-12)
    by_vmap = torch.func.vmap(torch.func.grad(row))(*map(torch.tensor, (scores, positives, where)))
    gradients = case.definition_of_rows(scores, positives, where=where)[2]
    np.testing.assert_allclose(by_vmap, gradients, atol=1e-12)


@every_objective_variant
def test_whole_weights_repeat_positives_in_the_mean(rng, case):
    """A weight of 2 counts a positive's contribution twice, without changing any rank or threshold."""
    scores, positives = draw(rng, (1, 30))
    weights = rng.integers(0, 4, (1, 30)).astype(np.float64)
    alone, valid, *_ = case.objective(np.tile(scores, (30, 1)), np.tile(positives, (30, 1)), weights=np.eye(30))
    power = -1 if case.mean_of == "reciprocals" else 1
    expected = np.mean(np.repeat(alone[valid] ** power, weights[0, valid].astype(int))) ** power
    np.testing.assert_allclose(case.objective(scores, positives, weights=weights)[0], expected, rtol=1e-12)


@every_objective_variant
def test_whole_multiplicity_repeats_items(rng, case):
    """Exact where an item is not ranked against itself. Repeated negatives are exact in smooth AP as well, but copies
    of a positive would also be ranked softly against each other, which a multiplicity does not model."""
    scores, positives = draw(rng, (30,))
    repeats = rng.integers(1, 4, 30)
    if case.copies_compete:
        repeats = np.where(positives, 1, repeats)
    live = rng.random(30) < 0.6
    expected = case.objective(np.repeat(scores, repeats), np.repeat(positives, repeats), live=np.repeat(live, repeats))
    actual = case.objective(scores, positives, live=live, multiplicity=repeats)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-12)
    if case.takes_is_iid:
        np.testing.assert_allclose([*actual[2].values()], [*expected[2].values()], rtol=1e-9)


@every_objective_variant
def test_the_queue_keeps_ranks_but_leaves_the_mean_when_live(rng, case):
    scores, positives = draw(rng, (1, 40))
    live = np.arange(40) < 10
    positives[0, :2], positives[0, 2] = True, False
    with_queue = case.objective(scores, positives, live=live)[0]
    weights = np.where(live, 1.0, 0.0) if case.is_live else None
    np.testing.assert_allclose(with_queue, case.objective(scores, positives, weights=weights)[0], rtol=1e-12)
    if case.is_live:
        valid = case.objective(scores, positives, live=live & ~positives)[1]
        assert not valid.any()


@every_objective_variant
def test_weights_multiplicity_and_masks_carry_no_gradient(rng, case):
    torch = pytest.importorskip("torch")
    scores, positives = map(torch.tensor, draw(rng, (1, 20)))
    scores.requires_grad_()
    weights, multiplicity = (torch.ones(20, dtype=torch.float64, requires_grad=True) for _ in range(2))
    case.objective(scores, positives, weights=weights, multiplicity=multiplicity)[0].sum().backward()
    assert scores.grad.abs().max() > 0
    assert weights.grad is None
    assert multiplicity.grad is None
