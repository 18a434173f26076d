import math

import numpy as np
import pytest
import reference

from imbalanced_core.losses.schedules import blend_losses, blend_weight, geometric_decay, temperature_ends

PLANS = [(0, 0, 1.0), (0, 3, 1.0), (2, 0, 1.0), (2, 2, 1.0), (3, 4, 0.75)]


@pytest.mark.parametrize(("warmup", "blend", "final"), PLANS)
def test_blend_weight_is_the_definition(every_backend, warmup, blend, final):
    steps = np.arange(warmup + blend + 3, dtype=np.int32)
    weights = every_backend.run(lambda step: blend_weight(step, warmup=warmup, blend=blend, final=final), steps)
    expected = [reference.blend_weight(int(step), warmup, blend, final) for step in steps]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    numbers = [blend_weight(int(step), warmup=warmup, blend=blend, final=final) for step in steps]
    np.testing.assert_allclose(numbers, expected, rtol=1e-15)
    assert all(type(number) is float for number in numbers)


def test_the_seeds_example():
    weights = [blend_weight(epoch, warmup=2, blend=2) for epoch in range(6)]
    assert weights == [0.0, 0.0, 1 / 3, 2 / 3, 1.0, 1.0]


def test_geometric_decay_is_the_definition(every_backend):
    elapsed = np.array([-5, 0, 1, 7, 99, 100, 101, 10_000], dtype=np.int32)
    temperatures = every_backend.run(lambda step: geometric_decay(step, start=0.5, end=0.01, steps=100), elapsed)
    expected = [reference.geometric_decay(int(step), 0.5, 0.01, 100) for step in elapsed]
    np.testing.assert_allclose(temperatures, expected, rtol=3e-6)
    numbers = [geometric_decay(int(step), start=0.5, end=0.01, steps=100) for step in elapsed]
    np.testing.assert_allclose(numbers, expected, rtol=1e-14)
    assert (numbers[0], numbers[1], numbers[5], numbers[-1]) == (0.5, 0.5, 0.01, 0.01)


def test_float64_steps_give_float64(every_backend):
    steps = np.arange(12, dtype=np.float64)
    weights = every_backend.run(lambda step: blend_weight(step, warmup=3, blend=6, final=0.9), steps)
    np.testing.assert_allclose(weights, [reference.blend_weight(int(k), 3, 6, 0.9) for k in steps], rtol=1e-15)
    temperatures = every_backend.run(lambda step: geometric_decay(step, start=0.05, end=0.005, steps=9), steps)
    np.testing.assert_allclose(temperatures, [reference.geometric_decay(int(k), 0.05, 0.005, 9) for k in steps], 1e-14)


def test_steps_up_to_the_largest_int32(every_backend):
    """No wrap-around and no counting in float32, whose spacing near 2^31 is up to 256 steps."""
    last = 2**31 - 1
    steps = np.array([0, last - 11, last - 10, last - 9, last - 1, last], dtype=np.int32)
    weights = every_backend.run(lambda step: blend_weight(step, warmup=last - 10, blend=3), steps)
    np.testing.assert_allclose(weights, [0, 0, 0.25, 0.5, 1, 1], rtol=1e-6)
    weights = every_backend.run(lambda step: blend_weight(step, warmup=0, blend=last - 2), steps)
    np.testing.assert_allclose(weights, [1 / last, *[1.0] * 5], rtol=1e-6)
    fraction = every_backend.run(
        lambda step: geometric_decay(step, start=1.0, end=math.exp(-1), steps=last), steps[[0, -1]]
    )
    np.testing.assert_allclose(fraction, [1.0, math.exp(-1)], rtol=1e-6)


def test_the_ends_may_be_arrays(every_grad_backend):
    """Start, end and final may be traced, so sweeping over them never recompiles."""

    def both(start, end, final):
        weight = blend_weight(5, warmup=5, blend=1, final=final)
        return geometric_decay(1, start=start, end=end, steps=2), weight

    arguments = [np.array(x, dtype=np.float32) for x in (0.4, 0.1, 0.5)]
    temperature, weight = every_grad_backend.run(both, *arguments)
    assert (temperature, weight) == pytest.approx((0.2, 0.25), rel=1e-6)


def test_blend_losses_meets_both_ends_exactly(every_backend):
    warm, main = np.float32(0.1).reshape(()), np.float32(0.7).reshape(())
    for weight, expected in ((0.0, warm), (1.0, main), (0.25, np.float32(0.25))):
        blended = every_backend.run(blend_losses, warm, main, np.asarray(weight, dtype=np.float32))
        assert blended.dtype == np.float32
        np.testing.assert_allclose(blended, expected, rtol=0 if weight in (0, 1) else 1e-6)


def test_blend_losses_refuses_to_broadcast():
    with pytest.raises(ValueError, match=r"the warm-up loss must be of the same shape as the main loss, \(3,\), got"):
        blend_losses(np.zeros(()), np.zeros(3), np.asarray(0.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup": -1}, "warmup must be an integer >= 0, got -1"),
        ({"warmup": 1.5}, "warmup must be an integer >= 0, got 1.5"),
        ({"warmup": True}, "warmup must be an integer >= 0, got True"),
        ({"warmup": 0, "blend": -2}, "blend must be an integer >= 0, got -2"),
        ({"warmup": 0, "final": 0.0}, "final must be a finite number > 0"),
        ({"warmup": 0, "final": 1.5}, r"final must be a number in \[0, 1\]"),
        ({"warmup": 0, "final": math.nan}, "final must be a finite number > 0"),
    ],
)
def test_bad_blend(arguments, message):
    with pytest.raises(ValueError, match=message):
        blend_weight(0, **arguments)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("start", 0.0, "start must be a finite number > 0"),
        ("end", -1.0, "end must be a finite number > 0"),
        ("end", math.inf, "end must be a finite number > 0"),
        ("steps", 0, "steps must be an integer >= 1, got 0"),
        ("steps", 1e4, "steps must be an integer >= 1, got 10000.0"),
    ],
)
def test_bad_decay(name, value, message):
    arguments = {"start": 0.1, "end": 0.01, "steps": 10} | {name: value}
    with pytest.raises(ValueError, match=message):
        geometric_decay(0, **arguments)


def test_unsigned_steps_are_refused_because_they_wrap_around():
    with pytest.raises(TypeError, match="a step must be a signed integer or a float, got dtype uint32"):
        blend_weight(np.array(0, dtype=np.uint32), warmup=3)
    with pytest.raises(TypeError, match="got dtype uint8"):
        geometric_decay(np.array(0, dtype=np.uint8), start=0.1, end=0.01, steps=4)


@pytest.mark.parametrize(
    ("given", "own", "expected"),
    [
        ((None, None), None, (0.05, 0.005)),
        ((0.5, None), None, (0.5, 0.005)),
        ((None, None), 0.2, (0.2, 0.2)),
        ((2.0, None), 0.2, (2.0, 0.2)),
        ((None, 0.1), 0.2, (0.2, 0.1)),
        ((0.3, 0.1), 0.2, (0.3, 0.1)),
    ],
)
def test_ends_of_the_temperature(given, own, expected):
    assert temperature_ends(*given, own=own) == expected
