"""NDCG of lists: value and gradient of the definition on every backend, its limit, and lists that cannot be ranked."""

from functools import partial

import numpy as np
import pytest
import reference
from sklearn.metrics import ndcg_score

from imbalanced_core.losses.ndcg import ndcg
from imbalanced_core.ops.namespace import array_namespace

OPTIONS = (
    {"temperature": 0.3},
    {"temperature": 0.2, "temperature_scale": "std", "gain": "linear"},
    {"temperature": 0.2, "temperature_scale": "iqr"},
)


def lists(rng, shape=(5, 12)):
    """Scores, labels 0 to 3 and a mask; the last two lists rank nothing."""
    relevance = rng.integers(0, 4, shape)
    scores = np.round(rng.standard_normal(shape) + 0.3 * relevance, 1)  # with ties
    where = rng.random(shape) < 0.8
    relevance[-2], where[-1] = 2, False
    return scores, relevance, where


def of_definition(scores, relevance, where, **options):
    rows = [reference.ndcg(*row[:2], where=row[2], **options) for row in zip(scores, relevance, where, strict=True)]
    return tuple(np.array(column, np.float64) for column in zip(*rows, strict=True))


@pytest.mark.parametrize("options", OPTIONS)
def test_value_is_the_reference(backend, rng, options):
    if options is not OPTIONS[0] and backend.name not in ("numpy", "strict", "torch"):
        pytest.skip("one kind is compiled")
    scores, relevance, where = lists(rng)
    expected, expected_valid, _ = of_definition(scores, relevance, where, **options)
    hidden = np.where(where, scores, np.nan), np.where(where, relevance, -7)  # what is masked does not matter
    loss, valid = backend.run(lambda s, y, w: ndcg(s, y, where=w, **options), *hidden, where)
    np.testing.assert_allclose(loss, expected, atol=1e-12)
    np.testing.assert_array_equal(valid, expected_valid)
    assert valid.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("options", OPTIONS)
def test_gradient_is_that_of_the_reference(eager, rng, options):
    scores, relevance, where = lists(rng)
    expected = of_definition(scores, relevance, where, **options)[2]

    def total(s, y, w):
        loss, _ = ndcg(s, y, where=w, **options)
        return array_namespace(loss).sum(loss)

    np.testing.assert_allclose(eager.value_and_grad(total, scores, relevance, where)[1], expected, atol=1e-12)
    assert np.abs(expected).max() > 1e-3


def test_the_reference_gradient_is_that_of_the_reference_loss(rng):
    scores, relevance, where = (array[0] for array in lists(rng))
    gradient = reference.ndcg(scores, relevance, where=where, temperature=0.3)[2]
    for i in range(12):
        step = 1e-6 * (np.arange(12) == i)
        up, down = (
            reference.ndcg(scores + sign * step, relevance, where=where, temperature=0.3)[0] for sign in (1, -1)
        )
        assert (up - down) / 2e-6 == pytest.approx(gradient[i], abs=1e-8)


@pytest.mark.parametrize(("gain", "of_label"), [("linear", lambda y: y), ("exponential", lambda y: 2.0**y - 1)])
def test_it_tends_to_the_ndcg_of_scikit_learn(rng, gain, of_label):
    scores, relevance = rng.standard_normal((4, 60)), rng.integers(0, 5, (4, 60))
    loss, _ = ndcg(scores, relevance, gain=gain, temperature=1e-9)
    expected = [ndcg_score(of_label(y)[None], s[None]) for s, y in zip(scores, relevance, strict=True)]
    np.testing.assert_allclose(1 - loss, expected, rtol=1e-12)


def test_the_best_order_has_no_loss_and_every_order_one_in_the_unit_interval(rng):
    _, relevance, _ = lists(rng, (50, 20))
    assert np.abs(ndcg(relevance * 100.0 + np.arange(20), relevance, temperature=1e-3)[0]).max() < 1e-12
    for temperature in (0.01, 1.0, 100.0):
        loss, _ = ndcg(rng.standard_normal(relevance.shape), relevance, temperature=temperature)
        assert ((loss >= 0) & (loss <= 1)).all()


def test_broken_lists_are_nan_and_leave_others_alone():
    scores, relevance = np.tile([1.0, 2.0, 3.0], (4, 1)), np.tile([2.0, 0.0, 1.0], (4, 1))
    scores[0, 1], relevance[1, 0], relevance[2, 2] = np.nan, -1.0, np.nan
    loss, valid = ndcg(scores, relevance)
    np.testing.assert_array_equal(np.isnan(loss), [True, True, True, False])
    assert valid.all()
    assert ndcg(np.zeros((2, 0)), np.zeros((2, 0)))[1].tolist() == [False, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gain": "log"}, "gain must be one of 'exponential', 'linear', got 'log'"),
        ({"temperature": 0.0}, "temperature must be a finite number > 0, got 0.0"),
        ({"temperature_scale": "band"}, "temperature_scale must be one of"),
        ({"scores": np.array(0.0)}, r"scores must be of shape \[\.\.\., n\], got \(\)"),
        ({"relevance": np.zeros(2)}, r"relevance must be of the same shape as scores, \(3,\), got \(2,\)"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ndcg(**{"scores": np.zeros(3), "relevance": np.zeros(3)} | options)


# -------------------------------------------------------------------------------------------------- in the frameworks


def test_modules_and_functions_are_the_same(rng):
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    import imbalanced_jax.nnx
    import imbalanced_torch.functional

    scores, relevance, where = lists(rng)
    scores, weights = scores.astype(np.float32), rng.random(5).astype(np.float32)
    options = {"temperature": 0.2, "temperature_scale": "std", "gain": "linear"}
    losses, valid = ndcg(scores, relevance, where=where, **options)
    expected = {
        "mean": (weights * losses).sum() / weights[valid].sum(),
        "sum": (weights * losses).sum(),
        "none": weights * losses,
    }
    gradients = []
    for reduction, value in expected.items():
        s, y, m, w = map(torch.tensor, (scores, relevance, where, weights))
        of_module = imbalanced_torch.NDCGLoss(reduction=reduction, **options)(s.requires_grad_(), y, m, sample_weight=w)
        gradients.append(torch.autograd.grad(of_module.sum(), s)[0])
        function = partial(imbalanced_torch.functional.ndcg_loss, reduction=reduction, **options)
        torch.testing.assert_close(function(s, y, where=m, sample_weight=w), of_module)
        np.testing.assert_allclose(of_module.detach(), value, atol=1e-6)
        x = [jax.numpy.asarray(array) for array in (scores, relevance, where, weights)]
        function = partial(imbalanced_jax.ndcg_loss, reduction=reduction, **options)
        of_function = partial(function, where=x[2], sample_weight=x[3])
        gradient = jax.grad(lambda s, f=of_function, y=x[1]: f(s, y).sum())(x[0])
        np.testing.assert_allclose(gradient, gradients[-1], atol=1e-6)
        of_nnx = imbalanced_jax.nnx.NDCGLoss(reduction=reduction, **options)
        for got in (of_function(*x[:2]), of_nnx(x[0], x[1], x[2], sample_weight=x[3])):
            np.testing.assert_allclose(got, value, atol=1e-6)


def test_lists_of_devices_have_one_mean(rng):
    jax = pytest.importorskip("jax")
    from imbalanced_jax import ndcg_loss

    scores, relevance, where = (jax.numpy.asarray(array) for array in lists(rng, (8, 6)))
    expected = jax.value_and_grad(ndcg_loss)(scores, relevance, where=where)
    axes = jax.sharding.PartitionSpec("d")

    def step(s, y, w):
        return jax.value_and_grad(lambda s: ndcg_loss(s, y, where=w, axis_name="d"))(s)

    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    specs = {"mesh": mesh, "in_specs": axes, "out_specs": (jax.sharding.PartitionSpec(), axes)}
    got = jax.jit(jax.shard_map(step, **specs))(scores, relevance, where)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-12), got, expected)


def test_values_are_checked_where_they_can_be_read():
    torch = pytest.importorskip("torch")
    from imbalanced_torch import NDCGLoss

    scores = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="relevance must be finite and >= 0, got -1"):
        NDCGLoss()(scores, torch.tensor([[1, 0, 2], [0, -1, 3]]))
    with pytest.raises(ValueError, match="sample_weight must be finite and >= 0"):
        NDCGLoss()(scores, torch.tensor([[1, 0, 2], [0, 1, 3]]), sample_weight=torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none'"):
        NDCGLoss(reduction="mean_positive")
    half = torch.tensor([[1.0, 0.5, 0.0]], dtype=torch.float16, requires_grad=True)
    loss = torch.compile(NDCGLoss(), fullgraph=True, backend="eager")(half, torch.tensor([[0, 1, 2]]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(half.grad).all()
