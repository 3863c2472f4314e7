"""Schedules: both ends, the values between them, and every kind of position."""

import fractions
import math

import keras
import numpy as np
import pytest

from keras_distill import schedules

CURVES = pytest.mark.parametrize(
    "make", [schedules.linear, schedules.cosine, schedules.exponential], ids=["linear", "cosine", "exponential"]
)
ENDS = [(8.0, 1.0), (1.0, 8.0), (0.1, 0.7), (1e-3, 1e4), (1e10, 0.3), (3.3, 3.3), (1 / 3, 2 / 3)]


@CURVES
@pytest.mark.parametrize("start, end", ENDS)
@pytest.mark.parametrize("steps", [1, 3, 7, 1000, 2.5])
def test_exact_at_both_ends_and_beyond(make, start, end, steps):
    schedule = make(start, end, steps)
    assert [schedule(position) for position in (0, -1, -1e300, -math.inf)] == [start] * 4
    assert [schedule(position) for position in (steps, steps + 1, 1e300, 10**400, math.inf)] == [end] * 5


@CURVES
@pytest.mark.parametrize("start, end", ENDS)
def test_monotone(make, start, end):
    values = np.array([make(start, end, 50)(position) for position in range(-2, 53)])
    assert np.all(np.diff(values) * np.sign(end - start) >= 0) and values.min() >= min(start, end) * (1 - 1e-15)
    assert values.max() <= max(start, end) * (1 + 1e-15)
    if start != end:
        assert np.all(np.diff(values[2:-2]) != 0)


@pytest.mark.parametrize("position", [0, 1, 2.5, 4, 6.75, 9.999, 10])
@pytest.mark.parametrize("start, end", ENDS)
def test_values(start, end, position):
    f = position / 10
    half_cosine = (1 - np.cos(np.pi * f)) / 2
    wanted = {
        schedules.linear: (1 - f) * start + f * end,
        schedules.cosine: (1 - half_cosine) * start + half_cosine * end,
        schedules.exponential: np.exp((1 - f) * np.log(start) + f * np.log(end)),
    }
    for make, value in wanted.items():
        np.testing.assert_allclose(make(start, end, 10)(position), value, rtol=1e-12, atol=1e-15 * max(start, end))


@CURVES
def test_kinds_of_numbers(make):
    wanted = make(8.0, 2.0, 4)(3)
    for kind in (np.int32, np.int64, np.float32, np.float64, np.array, float, fractions.Fraction):
        assert make(kind(8), kind(2), kind(4))(3) == wanted
        value = make(8.0, 2.0, 4)(kind(3))
        assert value == wanted and type(value) is float


@pytest.mark.parametrize("value", [0, 4, -2.5, np.float32(0.5)])
def test_constant(value):
    schedule = schedules.constant(value)
    assert [schedule(position) for position in (-1, 0, 0.5, 10**400)] == [float(value)] * 4


@CURVES
@pytest.mark.parametrize(
    "bad", [math.nan, math.inf, -math.inf, "8", None, True, 1j, [8.0], np.ones(2), 10**400], ids=str
)
@pytest.mark.parametrize("name", ["start", "end", "steps"])
def test_arguments_refused(make, name, bad):
    arguments = {"start": 8.0, "end": 2.0, "steps": 4, name: bad}
    with pytest.raises(ValueError, match=rf"(?s)^Expected {name} to be a finite number.*\. Received: {name}=.*\.$"):
        make(**arguments)


@CURVES
@pytest.mark.parametrize("steps", [0, -1, -0.5, 0.0])
def test_steps_refused(make, steps):
    with pytest.raises(ValueError, match=r"^Expected steps to be a finite number > 0\. Received: steps=.*\.$"):
        make(8.0, 2.0, steps)


@pytest.mark.parametrize("arguments", [{"start": 0.0}, {"end": 0}, {"start": -1.0}, {"end": -2.0}])
def test_exponential_needs_positive_ends(arguments):
    with pytest.raises(ValueError, match=r"^Expected (start|end) to be a finite number > 0\. Received: "):
        schedules.exponential(**{"start": 8.0, "end": 2.0, "steps": 4, **arguments})


def test_piecewise():
    schedule = schedules.piecewise([2, 5], [8.0, schedules.linear(4.0, 1.0, 3), 0.5])
    assert [schedule(position) for position in (-3, 0, 1, 1.999, 2, 3, 4, 5, 6, 1e300)] == [8] * 4 + [4, 3, 2] + [
        0.5
    ] * 3
    assert schedules.piecewise([], [3.0])(7) == 3.0


def test_piece_counts_from_its_own_start():
    positions = []
    schedule = schedules.piecewise([10], [1.0, lambda position: positions.append(position) or 2.0])
    schedule(10), schedule(13)
    assert positions == [0, 3] and all(type(position) is int for position in positions)


@pytest.mark.parametrize(
    "boundaries, values", [([3, 2], [1, 2, 3]), ([2, 2], [1, 2, 3]), ([2], [1]), ([], []), ([2], [1] * 3)]
)
def test_piecewise_refused(boundaries, values):
    with pytest.raises(ValueError, match=r"^Expected increasing boundaries and one value more than .*\. Received: \["):
        schedules.piecewise(boundaries, values)


@pytest.mark.parametrize("bad", [math.nan, math.inf, "2", None, True])
def test_piecewise_refuses_what_is_not_a_number(bad):
    with pytest.raises(ValueError, match=r"^Expected boundary to be a finite number\. Received: boundary="):
        schedules.piecewise([bad], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"^Expected value to be a finite number\. Received: value="):
        schedules.piecewise([1], [1.0, bad])


def test_warmup():
    schedule = schedules.warmup(schedules.cosine(8.0, 1.0, 4), start=2.0, steps=3)
    assert [schedule(position) for position in (-1, 0, 1, 2, 3, 7, 99)] == [2, 2, 4, 6, 8, 1, 1]
    assert schedule(5) == schedules.cosine(8.0, 1.0, 4)(2)
    assert [schedules.warmup(4.0, 0.0, 2)(position) for position in range(4)] == [0, 2, 4, 4]


def test_warmup_of_pieces():
    pieces = schedules.piecewise([2], [4.0, schedules.linear(4.0, 2.0, 2)])
    schedule = schedules.warmup(pieces, start=0.0, steps=2)
    assert [schedule(position) for position in range(8)] == [0, 2, 4, 4, 4, 3, 2, 2]


@pytest.mark.parametrize(
    "arguments", [{"start": math.nan}, {"steps": 0}, {"steps": -1}, {"steps": "3"}, {"schedule": "x"}]
)
def test_warmup_refused(arguments):
    with pytest.raises(ValueError, match=r"^Expected \w+ to be a finite number.*\. Received: \w+="):
        schedules.warmup(**{"schedule": 4.0, "start": 0.0, "steps": 2, **arguments})


@pytest.mark.parametrize("factor, starts", [(1.0, [0, 4, 8, 12, 16]), (2.0, [0, 4, 12]), (1.5, [0, 4, 10])])
def test_restarts(factor, starts):
    schedule = schedules.restarts(schedules.linear(8.0, 1.0, 4), period=4, factor=factor)
    values = [schedule(position) for position in range(17)]
    assert [position for position, value in enumerate(values) if value == 8.0] == starts
    assert values[:4] == [8.0, 6.25, 4.5, 2.75] and schedule(-3) == 8.0
    # The schedule is slower by the factor by which the period is longer.
    np.testing.assert_allclose(schedule(4 + 2 * factor), 4.5)


def test_restarts_at_large_positions():
    schedule = schedules.restarts(lambda position: position, period=3)
    assert schedule(3 * 10**15 + 2) == 2
    assert schedules.restarts(lambda position: position, 3, factor=2.0)(3 * (2**40 - 1)) == 0


@pytest.mark.parametrize("arguments", [{"period": 0}, {"period": math.nan}, {"factor": 0.5}, {"factor": math.inf}])
def test_restarts_refused(arguments):
    with pytest.raises(ValueError, match=r"^Expected (period|factor) to be .*\. Received: (period|factor)="):
        schedules.restarts(**{"schedule": 4.0, "period": 3, **arguments})


def test_sums_and_products():
    wave, decay = schedules.restarts(schedules.linear(1.0, 0.0, 2), 2), schedules.exponential(8.0, 2.0, 2)
    assert [schedules.multiply(wave, decay)(position) for position in range(4)] == [8.0, 2.0, 2.0, 1.0]
    assert [schedules.add(wave, decay, 1)(position) for position in range(4)] == [10.0, 5.5, 4.0, 3.5]
    assert schedules.add()(5) == 0.0 and schedules.multiply()(5) == 1.0


def test_schedules_of_keras_are_schedules():
    decay = keras.optimizers.schedules.CosineDecay(8.0, decay_steps=4, alpha=0.125)
    wanted = [schedules.cosine(8.0, 1.0, 4)(position) for position in range(6)]
    np.testing.assert_allclose([float(decay(position)) for position in range(6)], wanted, rtol=1e-6)
    doubled = schedules.multiply(decay, 2.0)(2)
    assert type(doubled) is float and doubled == pytest.approx(9.0)
    np.testing.assert_allclose(schedules.warmup(decay, 0.0, 2)(1), 4.0)


def test_driven():
    schedule = schedules.driven("val_agreement", lambda agreement: 8.0 * agreement)
    assert schedule(0, {"val_agreement": np.float32(0.5)}) == 4.0
    assert schedule(0, {"agreement": 0.5}) is None  # An epoch without validation.
    for logs, metric in (({"val_loss": 1.0}, "val_agreement"), ({"loss": 1.0}, "accuracy"), ({}, "loss")):
        with pytest.raises(
            ValueError, match=rf"^Expected logs with '{metric}', which drives .*\. Received: (val_loss|loss|none)\.$"
        ):
            schedules.driven(metric, float)(0, logs)
    with pytest.raises(ValueError, match=r"^Expected a function from a measured number to a value\. Received: "):
        schedules.driven("loss", 3.0)


@pytest.mark.parametrize("make", [schedules.add, lambda part: schedules.piecewise([3], [1.0, part])])
def test_driven_schedules_cannot_be_composed(make):
    with pytest.raises(
        ValueError, match=r"^Expected schedules that depend on the position only\. Received: a schedule that takes logs"
    ):
        make(schedules.driven("loss", float))


@pytest.mark.parametrize(
    "schedule, takes",
    [
        (schedules.driven("loss", float), True),
        (lambda position, logs=None: 1.0, True),
        (schedules.constant(1.0), False),
        (keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5), False),
        (math.sqrt, False),
        (np.sqrt, False),
    ],
)
def test_takes_logs(schedule, takes):
    assert schedules.takes_logs(schedule) is takes
