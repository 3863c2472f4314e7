"""Attention and layer normalization in quantization-aware students, and a small vision transformer from end to end."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_distill as kd
from keras_distill import quantization
from tests.quantization.conftest import fit
from tests.quantization.files import FAST, REFERENCE, ROUNDED, convert, misses, run, types, with_every_rounded_value

SHAPE = (6, 8)


@keras.saving.register_keras_serializable(package="keras_distill_tests")
class Positions(layers.Layer):
    """Adds a learned vector to each patch."""

    def build(self, shape):
        self.vectors = self.add_weight(shape=shape[1:], initializer="random_normal", name="vectors")

    def call(self, inputs):
        return inputs + self.vectors


CUSTOM = {Positions: quantization.rounded_weights}


def norm(**settings):
    """Make a layer normalization that has something to scale and to add."""
    uniform = keras.initializers.RandomUniform
    return layers.LayerNormalization(
        gamma_initializer=uniform(0.5, 1.5, seed=1), beta_initializer=uniform(-0.3, 0.3, seed=2), **settings
    )


def crossing(x):
    """Attend with keys, values and outputs of widths of their own, and no bias."""
    attention = layers.MultiHeadAttention(2, 6, value_dim=5, output_shape=7, use_bias=False)
    return attention(x, layers.Dense(10)(x), key=layers.Dense(9)(x))


# Each normalizes something else, or the converter would compute a product that several share once, in floating point.
# Name: function of the symbolic input.
CASES = {
    "normalization": lambda x: norm()(x),
    "normalization without offset": lambda x: layers.ReLU()(norm(center=False)(layers.Dense(8)(x))),
    "normalization without scale": lambda x: norm(scale=False)(layers.Dense(8)(x)),
    "normalization only": lambda x: layers.LayerNormalization(center=False, scale=False)(layers.Dense(8)(x)),
    "self attention": lambda x: layers.MultiHeadAttention(2, 4, dropout=0.1, name="attention")(x, x),
    "cross attention": crossing,
    "gelu": lambda x: layers.Dense(5, activation=quantization.gelu_tanh)(x),
    "positions": lambda x: Positions()(x),
    "sequence normalized and rectified": lambda x: layers.ReLU()(layers.BatchNormalization()(x)),
}


def model_of(*cases):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE, name="x")
    return keras.Model(inputs, [CASES[case](inputs) for case in cases], name="student")


def sample(count=48):
    """Rows of different widths, one of them constant: its variance is zero."""
    random = np.random.default_rng(3)
    x = random.normal(size=(count, *SHAPE)) * random.uniform(0.3, 1.5, size=(count, SHAPE[0], 1))
    x[0, :2] = 0.2
    return x.astype("float32")


def aware_of(student):
    aware = quantization.quantize_aware(student, custom_layers=CUSTOM)
    quantization.calibrate(aware, sample())
    return aware


def test_copies_equal_the_students_up_to_rounding_and_convert_back():
    student = model_of(*CASES)
    aware, x = aware_of(student), sample()
    assert all(np.isfinite(each).all() for each in quantization.ranges(aware).values())
    plain = quantization.float_student(aware)
    assert {type(each) for each in plain.layers} - {layers.Activation} == {type(each) for each in student.layers}
    # Rows that are nearly constant are normalized by a variance that has no more than a step.
    for case, wanted, got, again in zip(CASES, student(x), aware(x), plain(x), strict=True):
        assert np.abs(got - wanted)[1:].mean() < 0.02 * np.ptp(wanted), case
        assert np.allclose(again, wanted, atol=1e-5), case


def test_a_shared_attention_has_one_set_of_weights_and_ranges_for_each_call():
    inputs, shared = keras.Input(SHAPE), layers.MultiHeadAttention(2, 4, name="shared")
    student = keras.Model(inputs, shared(once := shared(inputs, inputs), once))
    aware = aware_of(student)
    assert len(aware.trainable_weights) == len(student.trainable_weights) == 8
    assert {"shared_scores_range", "shared_scores_range_1"} < set(quantization.ranges(aware))
    assert np.allclose(quantization.float_student(aware)(sample()), student(sample()), atol=1e-5)


def test_constant_rows_do_not_stop_training():
    student = keras.Sequential([keras.Input(SHAPE), layers.LayerNormalization()])
    aware = quantization.quantize_aware(student)
    x = sample()
    x[0] = 0.5
    with tf.GradientTape() as tape:
        loss = keras.ops.sum(aware(x, training=True) ** 2)
    assert all(np.isfinite(each).all() for each in tape.gradient(loss, aware.trainable_variables))
    assert np.isfinite(list(quantization.ranges(aware).values())).all()
    assert np.allclose(aware(x)[0], 0.0, atol=0.05)


def attending(*shape, **keywords):
    inputs = keras.Input(shape or SHAPE)
    settings = {name: keywords.pop(name) for name in ("use_gate", "sliding_window") if name in keywords}
    outputs = layers.MultiHeadAttention(2, 4, name="odd", **settings)(inputs, inputs, **keywords)
    return keras.Model(inputs, outputs)


def normalizing(**settings):
    return keras.Sequential([keras.Input(SHAPE), layers.LayerNormalization(name="odd", **settings)])


REFUSED = {
    "constant mask": (
        lambda: attending(attention_mask=np.ones((1, 6, 6), bool)),
        "computed by the model in layer 'odd'",
    ),
    "scores": (lambda: attending(return_attention_scores=True), "return_attention_scores=True"),
    "window": (lambda: attending(sliding_window=2), "sliding_window=2"),
    "gate": (lambda: attending(use_gate=True), "use_gate=True"),
    "images": (lambda: attending(4, 4, 8), r"\[batch, length, width\]"),
    "free length": (lambda: attending(None, 8), "length and width known"),
    "axis": (lambda: normalizing(axis=1), r"axis=\[1\]"),
    "two axes": (lambda: normalizing(axis=(1, 2)), r"axis=\[1, 2\]"),
    "root mean square": (lambda: normalizing(rms_scaling=True), "rms_scaling=True"),
    "exact gelu": (lambda: keras.Sequential([keras.Input(SHAPE), layers.Dense(3, activation="gelu")]), "gelu_tanh"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_refusals_name_the_layer_and_the_option(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        quantization.quantize_aware(make())


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A model of all cases with all its rounded values, and the file of it."""
    aware = aware_of(model_of(*CASES))
    exposed = with_every_rounded_value(aware)
    return aware, exposed, convert(exposed, tmp_path_factory.mktemp("converted"))


@pytest.mark.slow
@pytest.mark.parametrize("kernels", [FAST, REFERENCE], ids=["fast", "reference"])
def test_every_operation_of_the_file_is_rounded_once(converted, kernels):
    _, exposed, path = converted
    found = misses(path, exposed, sample(), kernels=kernels)
    assert len(found) == len(exposed.outputs) > 50
    assert not {name: miss for name, miss in found.items() if miss > ROUNDED}


@pytest.mark.slow
def test_all_convert_to_integers_with_the_same_outputs(converted, tmp_path):
    aware, exposed, with_all = converted
    x = sample()
    path = convert(aware, tmp_path)
    assert types(path) == types(with_all) == {"INT8", "INT32"}
    # The file is the one whose operations are looked at above: it gives the same integers.
    outputs, steps = run(path, x)
    index = {id(tensor): number for number, tensor in enumerate(exposed.outputs)}
    within, _ = run(with_all, x)
    for case, tensor, output in zip(CASES, aware.outputs, outputs, strict=True):
        assert np.array_equal(output, within[index[id(tensor)]]), case
    gaps = [np.abs(output - own) / step for output, own, step in zip(outputs, aware(x), steps, strict=True)]
    assert all(gap.mean() < 0.1 for gap in gaps)


def vit(width=16):
    """Build patches, positions, one block of a transformer, and a mean over the patches."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Reshape((16, width), name="patches")(layers.Conv2D(width, 2, 2, name="stem")(image))
    x = Positions(name="positions")(x)
    y = layers.LayerNormalization(name="norm")(x)
    x = layers.Add(name="attended")([x, layers.MultiHeadAttention(2, 8, dropout=0.05, name="attention")(y, y)])
    y = layers.Dense(2 * width, activation=quantization.gelu_tanh, name="up")(layers.LayerNormalization(name="mid")(x))
    x = layers.Add(name="mixed")([x, layers.Dense(width, name="down")(y)])
    x = layers.GlobalAveragePooling1D(name="pool")(layers.LayerNormalization(name="last")(x))
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="vit")


@pytest.fixture(scope="module")
def distilled(digits):
    """The float transformer, and its quantization-aware copy after an epoch of distillation from it."""
    student = vit()
    fit(student, digits, epochs=20, rate=8e-3)
    aware = quantization.quantize_aware(student, custom_layers=CUSTOM)
    teacher = keras.models.clone_model(student)
    teacher.set_weights(student.get_weights())
    fit(kd.Distiller(teacher, aware, "kd"), digits, epochs=2, rate=1e-3)
    return student, aware


def accuracy(model, digits):
    return np.mean(np.argmax(model(digits.test[0]), -1) == digits.test[1])


@pytest.mark.slow
def test_a_transformer_is_distilled_and_written_without_calibration(distilled, digits, tmp_path):
    student, aware = distilled
    assert accuracy(student, digits) > 0.85
    assert accuracy(aware, digits) >= accuracy(student, digits) - 0.02
    # The export itself requires a file that computes in integers only.
    report = kd.export.export(aware, tmp_path / "out", ("tflite_int8",), evaluation_data=digits.test)
    row = report["tflite_int8"]
    assert report.passed, report
    assert row.agreement >= 0.97
    lowest, highest = quantization.ranges(aware)["logits"]
    assert row.mean_difference <= 2 * (highest - lowest) / 255


@pytest.mark.slow
def test_a_transformer_is_saved_loaded_and_made_float_again(distilled, digits, tmp_path):
    _, aware = distilled
    x = digits.test[0][:20]
    aware.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.array_equal(aware(x), again(x))
    plain = quantization.float_student(again)
    assert {"positions", "norm", "attention", "up", "logits"} < {layer.name for layer in plain.layers}
    assert isinstance(plain.get_layer("attention"), layers.MultiHeadAttention)
    assert np.abs(plain(x) - aware(x)).mean() < 0.03 * np.ptp(plain(x))
