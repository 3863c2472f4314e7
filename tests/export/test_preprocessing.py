"""Preprocessing within the file, which takes raw bytes and returns probabilities, as computed by hand."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from keras_distill import export as room
from keras_distill.export.preprocessing import Preprocessing, match_inputs, wrap
from keras_distill.export.scaling import check_needed, check_scaled_once
from keras_distill.export.signature import Tensor, read_inputs, read_signature

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (16, 8, 8, 3)).astype("uint8")
STEP = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def classifier(head=None, name="scores"):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    stack = [keras.Input((8, 8, 3), name="image"), layers.Conv2D(4, 3, strides=2), layers.ReLU(), layers.Flatten()]
    return keras.Sequential([*stack, layers.Dense(5, activation=head, name=name)], name="digits")


def by_hand(student, images=IMAGES, softmax=True):
    scores = student((images / np.float32(255) - np.float32(STEP.mean)) / np.float32(STEP.std))
    return np.asarray(keras.ops.softmax(scores) if softmax else scores)


def two_ended():
    image, age = keras.Input((8, 8, 3), name="image"), keras.Input((1,), name="age")
    flat = keras.layers.Concatenate()([keras.layers.Flatten()(image), age])
    scores, size = keras.layers.Dense(5, name="scores")(flat), keras.layers.Dense(1, name="size")(flat)
    return keras.Model({"image": image, "age": age}, {"scores": scores, "size": size})


def exported_names(model, images=IMAGES):
    structure, inputs = read_inputs(model, images)
    found = read_signature(model, structure, inputs, {inputs[0].name: images})
    return [(tensor.name, tensor.dtype) for tensor in (*found.inputs, *found.outputs)]


def test_bytes_in_probabilities_out():
    student = classifier()
    wrapped = wrap(student, STEP)
    np.testing.assert_allclose(wrapped(IMAGES), by_hand(student), atol=1e-5)
    assert exported_names(wrapped) == [("image", "uint8"), ("scores", "float32")]
    assert wrapped.weights == student.weights


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_other_dtypes_and_scores(dtype):
    student = classifier()
    step = Preprocessing(dtype, mean=STEP.mean, std=STEP.std, softmax=False)
    np.testing.assert_allclose(wrap(student, step)(IMAGES.astype(dtype)), by_hand(student, softmax=False), atol=1e-4)


def hidden_softmax():
    """Probabilities that are not computed by the last operation."""
    student = classifier("softmax", name="softmax_scores")
    return keras.Model(student.inputs[0], keras.layers.Reshape((5,), name="scores")(student.outputs[0]))


@pytest.mark.parametrize("make", [lambda: classifier("softmax"), hidden_softmax])
def test_probabilities_are_unchanged(make):
    student = make()
    np.testing.assert_allclose(wrap(student, STEP)(IMAGES), by_hand(student, softmax=False), atol=1e-5)


def test_one_input_and_one_output_of_two():
    student = two_ended()
    wrapped = wrap(student, {"image": Preprocessing(softmax="scores")})
    age = np.ones((16, 1), "float32")
    before, after = student({"image": IMAGES / 255.0, "age": age}), wrapped({"image": IMAGES, "age": age})
    np.testing.assert_allclose(after["scores"], keras.ops.softmax(before["scores"]), atol=1e-5)
    np.testing.assert_allclose(after["size"], before["size"], atol=1e-5)
    assert wrapped.input["image"].dtype == "uint8" and wrapped.input["age"].dtype == "float32"


def test_preprocessing_outside_the_graph_leaves_the_student_unchanged():
    student = classifier()
    step = Preprocessing(mean=STEP.mean, std=STEP.std, in_graph=False)
    assert wrap(student, step) is student
    feed = step.to_dict()["feed"]
    fed = (IMAGES - np.float32(feed["mean"])) / np.float32(feed["std"])
    np.testing.assert_allclose(student(fed), by_hand(student, softmax=False), atol=1e-4)


def test_a_made_up_name_and_the_name_of_the_student():
    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(5)]
    assert exported_names(wrap(keras.Sequential(layers), STEP)) == [("input_0", "uint8"), ("output_0", "float32")]
    assert exported_names(wrap(classifier(name="digits"), STEP))[1] == ("digits", "float32")


ERRORS = {
    "channels": ({"mean": (0.5, 0.5)}, "mean of a Preprocessing for 3 channels, or one number. Received: 2"),
    "std": ({"std": -1.0}, "std of a Preprocessing to be positive numbers"),
    "scale": ({"scale": (1.0, 2.0)}, "scale of a Preprocessing to be one number"),
    "text": ({"mean": "grey"}, "mean of a Preprocessing to be numbers. Received: 'grey'"),
    "dtype": ({"input_dtype": "int8"}, "input_dtype to be one of float32, int32, uint8. Received: 'int8'"),
    "output": ({"softmax": ("score",)}, "softmax to name outputs of scores. Received: 'score'"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    changed, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        wrap(classifier(), Preprocessing(**changed))


def test_errors_of_names_and_kinds():
    tokens = (Tensor("tokens", "tokens", (None, 7), "int32"),)
    with pytest.raises(ValueError, match="preprocessing of the inputs tokens. Received: 'token'"):
        match_inputs({"token": STEP}, tokens)
    with pytest.raises(TypeError, match="to be a Preprocessing. Received: dict"):
        match_inputs({"tokens": {}}, tokens)
    with pytest.raises(ValueError, match=r"a dict by input \(age, image\)"):
        wrap(two_ended(), STEP)
    with pytest.raises(
        ValueError, match=r"class scores, to turn them into probabilities. Received: output 'size' of shape"
    ):
        wrap(two_ended(), {"image": Preprocessing()})
    with pytest.raises(ValueError, match="under a sigmoid"):
        wrap(classifier("sigmoid"), STEP)
    text = keras.Sequential([keras.Input((7,), dtype="int32"), keras.layers.Embedding(9, 2), keras.layers.Flatten()])
    with pytest.raises(ValueError, match="of the student to take floats. Received: int32"):
        wrap(text, Preprocessing())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A student, and a folder of float32 and int8 files of it that take bytes."""
    student, folder = classifier(), tmp_path_factory.mktemp("preprocessing") / "out"
    report = room.export(wrap(student, STEP), folder, ("tflite", "tflite_int8"), calibration_data=IMAGES)
    assert report.passed, str(report)
    return student, folder


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tolerance"), [("tflite", 1e-5), ("tflite_int8", 0.1)])
def test_files_take_bytes_and_give_probabilities(name, tolerance, files):
    student, folder = files
    runner = Interpreter(str(folder / room.FORMATS[name].filename)).get_signature_runner("serving_default")
    (image,), (output,) = runner.get_input_details().values(), runner.get_output_details().values()
    assert image["dtype"] == np.uint8
    values = np.concatenate([runner(image=image[None])["scores"] for image in IMAGES]).astype("float32")
    scale, zero_point = output["quantization"]
    values = (values - zero_point) * scale if scale else values
    np.testing.assert_allclose(values, by_hand(student), atol=tolerance)


# Students that scale by themselves ------------------------------------------------------------------------------------


def scaled(*first):
    return keras.Sequential(
        [keras.Input((8, 8, 3), name="image"), *first, keras.layers.Flatten(), keras.layers.Dense(5)]
    )


def normalization(values):
    layer = keras.layers.Normalization(name="n")
    layer.adapt(values.astype("float32"))
    return layer


def nested():
    image = keras.Input((8, 8, 3), name="image")
    return keras.Model(image, scaled(keras.layers.Rescaling(1 / 255, name="n"))(keras.layers.ZeroPadding2D(0)(image)))


TWICE = [
    lambda: scaled(keras.layers.Rescaling(1 / 255, name="n")),
    lambda: scaled(keras.layers.RandomFlip(), keras.layers.Rescaling(1 / 127.5, offset=-1, name="n")),
    lambda: scaled(normalization(IMAGES)),
    nested,
]
ONCE = [
    lambda: scaled(),
    lambda: scaled(keras.layers.Rescaling(2, offset=-1)),
    lambda: scaled(normalization(IMAGES / 255)),
    lambda: scaled(keras.layers.Conv2D(3, 1), keras.layers.Rescaling(1 / 255)),
]


@pytest.mark.parametrize(("make", "twice"), [(each, True) for each in TWICE] + [(each, False) for each in ONCE])
def test_nothing_is_scaled_twice(make, twice):
    student = make()
    signature = read_signature(student, *read_inputs(student, IMAGES), {"image": IMAGES})
    if not twice:
        return check_scaled_once(student, {"image": Preprocessing()}, signature, {"image": IMAGES})
    with pytest.raises(ValueError, match="^Expected preprocessing of input 'image' that the student needs.*layer 'n'"):
        check_scaled_once(student, {"image": Preprocessing()}, signature, {"image": IMAGES})
    check_scaled_once(student, {"image": Preprocessing(scale=1.0)}, signature, {"image": IMAGES})


def test_a_student_that_is_right_without_it_is_named():
    """A division in the graph is no scaling layer; the labels tell."""
    image = keras.Input((8, 8, 3), name="image")
    layer = keras.layers.Dense(5, bias_initializer=keras.initializers.Constant([0.4, 0.3, 0.2, 0.1, 0.0]), name="y")
    student = keras.Model(image, layer(keras.layers.Flatten()(image / 255.0)))
    labels = {"y": np.asarray(student(IMAGES.astype("float32"))).argmax(-1)}
    wrapped = wrap(student, Preprocessing())
    signature = read_signature(wrapped, *read_inputs(wrapped, IMAGES), {"image": IMAGES})
    with pytest.raises(ValueError, match=r"right on \d+\.\d% of the samples behind it, and on 100.0% without"):
        check_needed(student, wrapped, {"image": Preprocessing()}, signature, {"image": IMAGES}, labels)
    labels = {"y": np.asarray(wrapped(IMAGES)).argmax(-1)}
    check_needed(student, wrapped, {"image": Preprocessing()}, signature, {"image": IMAGES}, labels)
