"""The layer that holds a range: how it changes, when it does not, and what inference uses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.quantization import FakeQuantization, calibrate, quantize_aware, ranges

FIRST, SECOND = np.array([-1.0, 3.0], "float32"), np.array([-5.0, 1.0], "float32")


def limits(layer):
    return pytest.approx((float(layer.minimum), float(layer.maximum)))


@pytest.mark.parametrize("jit_compile", (False, True))
def test_moving_average_starts_with_the_first_batch(jit_compile):
    layer = FakeQuantization(momentum=0.75)
    layer.build((None,))
    step = tf.function(lambda x: layer(x, training=True), jit_compile=jit_compile)
    step(FIRST)
    assert limits(layer) == (-1.0, 3.0)
    step(SECOND)
    assert limits(layer) == (0.75 * -1.0 + 0.25 * -5.0, 0.75 * 3.0 + 0.25 * 1.0)


def test_a_range_always_contains_zero_and_has_some_width():
    layer = FakeQuantization()
    layer(np.array([2.0, 3.0], "float32"), training=True)
    assert limits(layer) == (0.0, 3.0)
    layer = FakeQuantization()
    assert np.asarray(layer(np.zeros(3, "float32"), training=True)).tolist() == [0.0] * 3


def test_inference_and_frozen_layers_do_not_change_the_range():
    layer = FakeQuantization()
    layer(FIRST, training=True)
    assert np.asarray(layer(SECOND)) == pytest.approx([-1.0, 1.0], abs=0.02)
    layer.trainable = False
    layer(SECOND, training=True)
    assert limits(layer) == (-1.0, 3.0)


def test_inference_before_training_uses_the_range_of_its_batch_only_once():
    layer = FakeQuantization()
    predict = tf.function(lambda x: layer(x, training=False))
    assert np.asarray(predict(FIRST)).tolist() == pytest.approx(FIRST.tolist(), abs=0.02)
    assert not layer.has_range
    layer(np.array([-1.0, 1.0], "float32"), training=True)
    # The graph traced before uses the range that training found.
    assert np.asarray(predict(FIRST)) == pytest.approx([-1.0, 1.0], abs=0.02)


def test_a_graph_traced_after_training_has_no_condition():
    layer = FakeQuantization()
    layer(FIRST, training=True)
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((2,))).graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert "FakeQuantWithMinMaxVars" in kinds
    assert not kinds & {"SelectV2", "If", "StatelessIf", "Min", "Max"}


def test_learned_limits_receive_the_gradient_of_clipped_values():
    layer = FakeQuantization(ranges="learned")
    first = np.array([[-1.0, 1.0, 0.0, 0.0]], "float32")
    for _ in range(100):
        layer(first, training=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(np.array([[-7.0, 0.5, 4.0, 9.0]] * 2, "float32"), training=True))
    # Four values per sample, 255 steps: 1 / sqrt(4 * 255) for each value that is cut off.
    share = 1020**-0.5
    found = [float(each) for each in tape.gradient(loss, [layer.minimum, layer.maximum])]
    assert found == pytest.approx([2.0 * share, 4.0 * share])
    assert limits(layer) == (-1.0, 1.0)
    assert [weight.name for weight in layer.trainable_weights] == ["minimum", "maximum"]


def test_a_learned_range_covers_its_first_batches():
    layer = FakeQuantization(ranges="learned")
    layer(FIRST, training=True)
    layer(SECOND, training=True)
    assert limits(layer) == (-5.0, 3.0)


@pytest.mark.parametrize("ranges", ("moving_average", "learned"))
def test_a_covering_range_never_shrinks(ranges):
    layer = FakeQuantization(ranges=ranges, covers=True)
    for batch in (FIRST, SECOND, FIRST * 0.1):
        layer(batch, training=True)
    assert limits(layer) == (-5.0, 3.0)


def test_a_learned_range_that_lost_zero_stays_valid():
    layer = FakeQuantization(ranges="learned")
    layer(FIRST, training=True)
    layer.minimum.assign(2.0)
    layer.maximum.assign(-1.0)
    assert np.all(np.isfinite(layer(FIRST)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    (
        *(({"bits": bits}, "bits to be a whole number from 2 to 16") for bits in (0, -1, 1, 17, 1.5, "8", True)),
        *(({"limits": limits}, "limits from a number <= 0 to a larger") for limits in ((1, -1), (0, 0), (1, 2))),
        ({"limits": (1,)}, "limits to be a pair of numbers"),
        ({"limits": "x"}, "limits to be a pair of numbers"),
        ({"limits": (float("nan"), 1)}, "each of the limits to be a finite number"),
        ({"ranges": "percentile"}, "ranges to be one of"),
        ({"momentum": 1.0}, "below 1"),
        ({"momentum": -1}, "momentum"),
    ),
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        FakeQuantization(**arguments)


@pytest.mark.parametrize("value", (np.nan, np.inf))
def test_a_sample_that_is_not_finite_leaves_the_ranges_as_they_were(value):
    student = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="sums")])
    model = quantize_aware(student)
    calibrate(model, np.ones((4, 2), "float32"))
    before = ranges(model)
    batch = np.ones((4, 2), "float32")
    batch[1, 0] = value
    with pytest.raises(ValueError, match="x to be finite. Received: NaN or infinity in 1 of 4 samples"):
        calibrate(model, batch)
    assert ranges(model) == before


def test_activations_that_overflow_leave_the_ranges_as_they_were():
    dense = keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant(1e38), name="sums")
    model = quantize_aware(keras.Sequential([keras.Input((2,)), dense]))
    with pytest.raises(ValueError, match="activations are finite in 'sums'"):
        calibrate(model, np.full((4, 2), 1e38, "float32"))
    assert all(each is None for each in ranges(model).values())


def test_config_round_trip():
    layer = FakeQuantization(ranges="learned", momentum=0.5, limits=(0.0, 1.0), bits=4, covers=True, name="x")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer), safe_mode=True)
    assert again.get_config() == layer.get_config()
