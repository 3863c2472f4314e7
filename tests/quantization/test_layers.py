"""Every row of the tables: the copy equals the student up to rounding, and converts back to float."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_distill import quantization
from keras_distill.quantization.activations import ACTIVATIONS
from keras_distill.quantization.operations import OPERATIONS
from keras_distill.quantization.rules import LAYERS
from tests.quantization.layer_table import CASES, model_of, samples_of


@pytest.mark.parametrize("case", CASES)
def test_the_copy_equals_the_student_up_to_rounding_and_converts_back(case):
    student = model_of(case)
    before = student.get_weights()
    x = samples_of(CASES[case][0], 32)
    aware = quantization.quantize_aware(student)
    quantization.calibrate(aware, x)
    wanted, got = np.asarray(student(x, training=False)), np.asarray(aware(x, training=False))
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).mean() < 0.02 * np.ptp(wanted)
    assert not quantization.is_quantize_aware(again := quantization.float_student(aware))
    assert np.allclose(again(x, training=False), wanted, atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, student.get_weights(), strict=True))
    # Nothing is shared with the student.
    assert not {id(each) for each in aware.weights} & {id(each) for each in student.weights}


def test_every_row_has_a_case():
    seen, functions, operations = set(), set(), set()
    for case in CASES:
        for layer in model_of(case)._flatten_layers():
            seen.add(type(layer))
            functions.add(getattr(layer, "activation", None))
        operations |= {type(operation).__name__ for operation in model_of(case).operations}
    assert not LAYERS.keys() - seen
    # Spellings of other versions of Keras, and of other ways to write the same.
    assert not OPERATIONS.keys() - operations - {"Abs", "Divide", "Flatten", "Ravel"}
    assert not ACTIVATIONS.keys() - functions


def test_layer_names_are_those_documented(student):
    names = [layer.name for layer in quantization.quantize_aware(student).layers]
    assert names[:7] == ["image", "image_range", "stem", "stem_relu", "stem_relu_range", "depth", "depth_relu"]
    assert not [name for name in names if "norm" in name]
    assert {"sum", "sum_relu_range", "both_range", "flat"} < set(names)
    assert not {"stem_range", "sum_range", "max_range", "mean_range", "flat_range"} & set(names)
    assert names[-2:] == ["logits_unrounded", "logits"]


def test_structures_of_several_inputs_and_outputs_are_kept():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    both = layers.Add()([layers.Dense(4)(a), b])
    student = keras.Model({"b": b, "a": a}, {"sum": layers.Dense(2)(both), "both": both})
    aware = quantization.quantize_aware(student)
    x = {"a": np.ones((2, 4), "float32"), "b": np.zeros((2, 4), "float32")}
    assert {name: each.shape for name, each in aware(x).items()} == {"sum": (2, 2), "both": (2, 4)}
    assert {name: each.shape for name, each in quantization.float_student(aware)(x).items()} == {
        "sum": (2, 2),
        "both": (2, 4),
    }


def test_a_layer_called_twice_stays_one_layer():
    shared, inputs = layers.Dense(4, name="shared"), keras.Input((4,))
    aware = quantization.quantize_aware(keras.Model(inputs, shared(shared(inputs))))
    kernels = [weight for weight in aware.trainable_weights if weight.name == "kernel"]
    assert len(kernels) == 1
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    quantization.calibrate(aware, x)
    assert np.allclose(aware(x), shared(shared(x)), atol=0.1)


def test_a_frozen_student_gives_a_copy_that_trains():
    frozen = model_of("conv2d")
    frozen.trainable = False
    assert quantization.quantize_aware(frozen).trainable_weights
    assert not frozen.trainable_weights


class Scaled(layers.Layer):
    """A layer of a user's own."""

    def call(self, inputs):
        return inputs * 0.5


def test_custom_layers_follow_the_rule_given_with_them():
    student = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense"), Scaled(name="mine")])
    with pytest.raises(ValueError, match="custom_layers={Scaled: kd.quantization.own_range}"):
        quantization.quantize_aware(student)
    aware = quantization.quantize_aware(student, custom_layers={Scaled: quantization.own_range})
    assert [layer.name for layer in aware.layers[2:]] == ["dense", "dense_range", "mine_unrounded", "mine"]


def subclassed():
    class Model(keras.Model):
        def call(self, inputs):
            return inputs

    model = Model()
    model(np.zeros((1, 4), "float32"))
    return model


def sequence(*within, shape=(8, 8, 4)):
    return keras.Sequential([keras.Input(shape), *within])


def operation_of(function):
    inputs = keras.Input((4,))
    return keras.Model(inputs, function(inputs))


REFUSED = {
    "an array": (lambda: np.zeros(3), "keras.Model"),
    "not built": (lambda: keras.Sequential([layers.Dense(3)]), "to be built"),
    "subclassed": (subclassed, "Functional or Sequential"),
    "recurrent": (lambda: sequence(layers.LSTM(3, name="memory"), shape=(4, 3)), "'memory' of type LSTM"),
    "activation": (lambda: sequence(layers.Dense(3, activation="elu", name="odd")), "'elu' in layer 'odd'"),
    "relu": (lambda: sequence(layers.ReLU(max_value=3.0, name="odd")), "max_value=3"),
    "softmax": (lambda: sequence(layers.Softmax(axis=1, name="odd")), "axis=1"),
    "masked mean": (
        lambda: keras.Sequential(
            [
                keras.Input((4,), dtype="int32"),
                layers.Embedding(5, 2, mask_zero=True),
                layers.GlobalAveragePooling1D(name="odd"),
            ]
        ),
        "no mask in layer 'odd'",
    ),
    "tokens of floats": (lambda: sequence(layers.Embedding(5, 2, name="odd"), shape=(4,)), "int32 tokens"),
    "dilated": (lambda: sequence(layers.Conv2DTranspose(2, 3, dilation_rate=2, name="odd")), "dilation_rate"),
    "bicubic": (lambda: sequence(layers.UpSampling2D(2, interpolation="bicubic", name="odd")), "bicubic"),
    "operation": (lambda: operation_of(ops.exp), "operation Exp of keras.ops, 'exp'.*kd.quantization.LAYERS"),
    "division": (lambda: operation_of(lambda x: x / (x + 1.0)), "constant to divide by in layer 'true_divide"),
    "power": (lambda: operation_of(lambda x: x**3), "the power 2"),
    "exact gelu": (lambda: operation_of(lambda x: ops.gelu(x, approximate=False)), "gelu_tanh"),
    "channels first": (lambda: sequence(layers.MaxPooling2D(data_format="channels_first", name="odd")), "channels"),
    "mixed precision": (lambda: sequence(layers.Dense(3, dtype="mixed_float16", name="half")), "'half' of dtype"),
    "normalization": (lambda: sequence(layers.BatchNormalization(axis=1, name="odd")), "axis=1"),
    "rescaling": (lambda: sequence(layers.Rescaling(np.ones((8, 1)), name="odd")), "per channel"),
    "twice": (lambda: quantization.quantize_aware(sequence(layers.Flatten())), "aware already"),
}


def test_layers_of_keras_get_no_advice_that_fails():
    with pytest.raises(ValueError, match="'odd' of type Dot. No rule is known for it") as caught:
        inputs = keras.Input((4,))
        quantization.quantize_aware(keras.Model(inputs, layers.Dot(1, name="odd")([inputs, inputs])))
    assert "custom_layers" not in str(caught.value)


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_what_is_wrong(case):
    make, message = REFUSED[case]
    student = make()
    with pytest.raises(ValueError, match=message):
        quantization.quantize_aware(student)


@pytest.mark.parametrize(
    ("arguments", "message"),
    (
        ({"weight_bits": 3}, "weight_bits to be 8 or 4"),
        ({"ranges": "best"}, "ranges to be one of"),
        ({"momentum": 2.0}, "momentum"),
        ({"custom_layers": {"Dense": None}}, "layer class to rule"),
    ),
)
def test_refusals_of_arguments(arguments, message, student):
    with pytest.raises(ValueError, match=message):
        quantization.quantize_aware(student, **arguments)


@pytest.mark.parametrize("function", (quantization.calibrate, quantization.ranges, quantization.float_student))
def test_float_models_are_refused_in_place_of_aware_ones(function, student):
    arguments = (np.zeros((1, 8, 8, 1), "float32"),) if function is quantization.calibrate else ()
    with pytest.raises(ValueError, match="quantization-aware model"):
        function(student, *arguments)


def test_a_model_that_has_seen_no_data_is_not_ready(student):
    aware = quantization.quantize_aware(student)
    with pytest.raises(ValueError, match="has seen data. Received: no range in 'image_range'"):
        quantization.check_trained(aware)
    quantization.calibrate(aware, np.ones((2, 8, 8, 1), "float32"))
    quantization.check_trained(aware)
    assert quantization.ranges(aware)["image_range"] == (0.0, 1.0)
