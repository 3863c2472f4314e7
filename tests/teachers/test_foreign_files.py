"""Files teach what the models that they were made of teach: SavedModel, TFLite, ONNX."""

import pathlib
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

import keras_distill as kd
from keras_distill.teachers import ONNXTeacher, SavedModelTeacher, TFLiteTeacher, as_teacher

SHAPE = (6, 6, 1)
X = np.random.default_rng(1).normal(size=(7, *SHAPE)).astype("float32")
ROWS = np.random.default_rng(3).normal(size=(5, 4)).astype("float32")
SIGNATURE = "args_0"


def network(width, head=None):
    layers = [keras.Input(SHAPE), keras.layers.Conv2D(width, 3, activation="relu"), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(3, activation=head)])


def write_saved_model(model, path, batch=None):
    spec = keras.InputSpec(shape=(batch, *model.input_shape[1:]), dtype="float32")
    model.export(path, verbose=False, input_signature=[spec])


def write_tflite(model, path, batch=None, integers=None):
    folder = f"{path}.folder"
    write_saved_model(model, folder, batch)
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
    if integers is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = integers
        rows = batch or 1
        converter.representative_dataset = lambda: (
            {SIGNATURE: X[row : row + rows]} for row in range(len(X) - rows + 1)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The converter of TensorFlow warns of its own interpreter.
        pathlib.Path(path).write_bytes(converter.convert())


def write_onnx(model, path, batch=None, softmax=False):
    onnx = pytest.importorskip("onnx", reason="needs onnx to write a file")
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    kernel, bias, matrix, offset = model.get_weights()
    weights = {"kernel": kernel.transpose(3, 2, 0, 1), "bias": bias, "matrix": matrix, "offset": offset}
    nodes = [
        node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2]),
        node("Conv", ["first", "kernel", "bias"], ["map"]),
        node("Relu", ["map"], ["active"]),
        node("Transpose", ["active"], ["last"], perm=[0, 2, 3, 1]),
        node("Flatten", ["last"], ["flat"]),
        node("Gemm", ["flat", "matrix", "offset"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [tensor("image", onnx.TensorProto.FLOAT, [batch or "batch", *SHAPE])],
        [tensor("probabilities" if softmax else "logits", onnx.TensorProto.FLOAT, [batch or "batch", 3])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in weights.items()],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)


WRITERS = {"saved_model": write_saved_model, ".tflite": write_tflite, ".onnx": write_onnx}
FILES = [(kind, batch) for kind in WRITERS for batch in (None, 1, 3)]
EACH_FILE = pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file[0]}-{file[1]}")
KINDS = {"saved_model": SavedModelTeacher, ".tflite": TFLiteTeacher, ".onnx": ONNXTeacher}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("teachers")


@pytest.fixture(scope="module")
def original():
    keras.utils.set_random_seed(3)
    return network(8)


@pytest.fixture(scope="module")
def paths(folder, original):
    """Return the path of a file with the original in it; each is written once."""
    written = {}

    def path(kind, batch=None, **options):
        if kind == ".onnx":
            pytest.importorskip("onnxruntime", reason="needs onnxruntime, the extra onnx")
        key = (kind, batch, *sorted(options.items()))
        if key not in written:
            written[key] = str(folder / f"teacher_{len(written)}{kind if kind[0] == '.' else ''}")
            WRITERS[kind](original, written[key], batch, **options)
        return written[key]

    return path


# Values ---------------------------------------------------------------------------------------------------------------


@EACH_FILE
def test_logits_are_the_original_s(paths, original, file):
    teacher = as_teacher(paths(*file))
    assert type(teacher) is KINDS[file[0]] and teacher.supports_jit is (file[0] == "saved_model")
    for rows in (1, 3, 7):
        logits = teacher(X[:rows])
        assert logits.dtype == "float32" and logits.shape == (rows, 3)
        assert_allclose(logits, original(X[:rows]), rtol=1e-5, atol=1e-5)


@EACH_FILE
def test_shapes_are_known_before_and_in_a_graph(paths, original, file):
    teacher = as_teacher(paths(*file))
    assert [tuple(each.shape) for each in (*teacher.inputs, *teacher.outputs)] == [(None, *SHAPE), (None, 3)]
    assert teacher.built and not teacher.weights

    @tf.function(input_signature=[tf.TensorSpec((None, *SHAPE))])
    def logits(x):
        result = teacher(x)
        assert result.shape.as_list() == [None, 3]
        return result

    assert_allclose(logits(X), original(X), rtol=1e-5, atol=1e-5)
    assert logits(X[:0]).shape == (0, 3)


@pytest.mark.parametrize("kind", WRITERS)
def test_inside_a_functional_model(paths, original, kind):
    inputs = keras.Input((1, *SHAPE[:2]))
    model = keras.Model(inputs, as_teacher(paths(kind))(keras.ops.transpose(inputs, (0, 2, 3, 1))))
    assert model.output_shape == (None, 3)
    assert_allclose(model.predict(X.transpose(0, 3, 1, 2), verbose=0), original(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", WRITERS)
def test_inputs_are_cast_to_what_the_file_takes(paths, original, kind):
    teacher = as_teacher(paths(kind))
    for dtype in ("float64", "float16", "uint8", "int64"):
        x = (np.abs(X) * 10).astype(dtype)
        assert_allclose(teacher(x), original(x.astype("float32")), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("size", [2, 20])
def test_batch_size_changes_no_value(paths, original, kind, size):
    assert_allclose(as_teacher(paths(kind), batch_size=size)(X), original(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [None, 3])
def test_a_saved_model_in_a_compiled_step(paths, original, batch):
    teacher = as_teacher(paths("saved_model", batch))
    assert_allclose(tf.function(teacher, jit_compile=True)(tf.constant(X)), original(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["saved_model", ".onnx"])
def test_probabilities_become_their_logarithms(folder, original, kind):
    path = folder / f"soft{kind if kind[0] == '.' else ''}"
    if kind == ".onnx":
        pytest.importorskip("onnxruntime", reason="needs onnxruntime, the extra onnx")
        write_onnx(original, str(path), softmax=True)
    else:
        write_saved_model(keras.Sequential([original, keras.layers.Softmax()]), path)
    teacher = as_teacher(path, outputs="probabilities")
    assert_allclose(teacher(X), keras.ops.log_softmax(original(X)), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r'^Expected logits from the teacher .*\. Pass outputs="probabilities"\.$'):
        as_teacher(path)


@pytest.mark.parametrize("kind", WRITERS)
def test_logits_given_for_probabilities_are_refused(paths, kind):
    with pytest.raises(ValueError, match=r'^Expected probabilities from .*Received: rows that sum to.*"logits"'):
        as_teacher(paths(kind), outputs="probabilities")


# Eight bits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [tf.int8, tf.uint8], ids=["int8", "uint8"])
@pytest.mark.parametrize("batch", [None, 2])
def test_integers_stand_for_floats(paths, original, dtype, batch):
    teacher = as_teacher(paths(".tflite", batch, integers=dtype))
    detail = teacher._input_details()[0]
    scale, zero_point = detail["quantization"]
    assert detail["dtype"] == dtype.as_numpy_dtype and scale > 0
    logits, exact = teacher(X).numpy(), original(X).numpy()
    step = teacher._output_detail()["quantization"][0]
    assert_allclose(logits, exact, atol=4 * step)
    assert_allclose(logits / step, np.round(logits / step), atol=1e-3)
    limits = np.iinfo(detail["dtype"])
    raw = np.clip(np.round(X / scale) + zero_point, limits.min, limits.max).astype(detail["dtype"])
    assert_array_equal(teacher(raw), logits)  # The file's own integers are given as they are.


def test_a_softmax_in_eight_bits(folder, original):
    soft, path = keras.Sequential([original, keras.layers.Softmax()]), str(folder / "soft.tflite")
    write_tflite(soft, path, integers=tf.int8)
    with pytest.raises(ValueError, match='outputs="probabilities"'):
        as_teacher(path)
    assert_allclose(keras.ops.exp(as_teacher(path, outputs="probabilities")(X)), soft(X), atol=4 / 256)


def test_tflite_runs_whole_batches_where_the_file_can(paths, folder):
    assert as_teacher(paths(".tflite"))._whole is False
    assert as_teacher(paths(".tflite", 1))._whole is True  # Its reshaping knows no other batch.

    @tf.function(input_signature=[tf.TensorSpec((1, 4))])
    def doubled(x):
        return 2.0 * x[:, 1:]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([doubled.get_concrete_function()], tf.Module())
    (folder / "doubled.tflite").write_bytes(converter.convert())
    teacher = as_teacher(folder / "doubled.tflite")
    assert teacher._whole is False
    assert_array_equal(teacher(ROWS), ROWS[:, 1:] * 2)


# Distilling -----------------------------------------------------------------------------------------------------------


def distilled(teacher, **options):
    keras.utils.set_random_seed(5)
    student = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)])
    distiller = kd.Distiller(teacher, student, kd.losses.LogitsDistillation(3.0))
    distiller.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", **options)
    history = distiller.fit(X[:6], np.arange(6) % 3, batch_size=2, shuffle=False, verbose=0).history
    return [*student.get_weights(), history["distillation_loss"]], distiller


@pytest.fixture(scope="module")
def exact(original):
    """Return what three steps of the original teach."""
    return distilled(original)[0]


@pytest.mark.parametrize("file", [*((kind, None) for kind in WRITERS), ("saved_model", 3), (".tflite", 1)])
def test_three_steps_are_those_of_the_original(paths, exact, file):
    for one, other in zip(distilled(as_teacher(paths(*file)))[0], exact, strict=True):
        assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_three_steps_in_eight_bits(paths, exact):
    for one, other in zip(distilled(as_teacher(paths(".tflite", integers=tf.int8)))[0], exact, strict=True):
        assert_allclose(one, other, atol=1e-2)


def test_three_compiled_steps(paths, exact):
    for one, other in zip(distilled(as_teacher(paths("saved_model")), jit_compile=True)[0], exact, strict=True):
        assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_saved_model_of_a_strategy(paths, exact):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        taught = distilled(as_teacher(paths("saved_model")))[0]
    for one, other in zip(taught, exact, strict=True):
        assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_distiller_is_saved_with_the_path_of_its_teacher(paths, kind, tmp_path):
    path = paths(kind)
    _, distiller = distilled(as_teacher(path, batch_size=4, name="wise"))
    distiller.save(tmp_path / "d.keras")
    loaded = keras.saving.load_model(tmp_path / "d.keras")
    assert type(loaded.teacher) is KINDS[kind] and loaded.teacher.get_config()["path"] == path
    assert loaded.teacher.name == "wise" and loaded.teacher.batch_size == 4
    assert_array_equal(loaded.teacher(X).numpy(), distiller.teacher(X).numpy())
    assert_array_equal(loaded(X).numpy(), distiller(X).numpy())


# Several inputs and outputs, signatures -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forked(folder):
    """A SavedModel of two inputs and two outputs, and the model in it."""
    ids, size = keras.Input((5,), name="ids", dtype="int32"), keras.Input((2,), name="size")
    whole = keras.layers.Concatenate()([keras.ops.cast(ids, "float32"), size])
    model = keras.Model({"ids": ids, "size": size}, [keras.layers.Dense(3)(whole), keras.layers.Dense(2)(whole)])
    model.export(folder / "forked", verbose=False)
    return folder / "forked", model


IDS, SIZE = np.arange(20, dtype="int64").reshape(4, 5) % 3, np.random.default_rng(2).normal(size=(4, 2))


def test_tflite_of_several_inputs(forked, folder):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(forked[0]), signature_keys=["serving_default"])
    (folder / "forked.tflite").write_bytes(converter.convert())
    teacher = as_teacher(folder / "forked.tflite", signature_output="output_0")
    expected = forked[1]({"ids": IDS, "size": SIZE})[0]
    assert_allclose(teacher({"ids": IDS, "size": SIZE}), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"^Expected a dict of ids, size for .*Received: 2 without names\.$"):
        teacher([IDS, SIZE])


@pytest.mark.parametrize("index", [0, 1])
def test_one_of_several_outputs(forked, index):
    path, model = forked
    teacher = as_teacher(path, signature_output=f"output_{index}")
    expected = model({"ids": IDS, "size": SIZE})[index]
    assert_allclose(teacher({"size": SIZE, "ids": IDS, "more": IDS}), expected, rtol=1e-5, atol=1e-5)


def test_a_list_of_inputs_is_in_the_order_of_the_model(folder):
    names = ("b", "c", "a", "d")
    inputs = [keras.Input((3,), name=name) for name in names]
    model = keras.Model(inputs, sum(10.0**power * tensor for power, tensor in enumerate(inputs)))
    model.export(folder / "listed", verbose=False)
    arrays = [np.full((2, 3), digit, "float32") for digit in (1, 2, 3, 4)]
    teacher = as_teacher(folder / "listed")
    assert_allclose(teacher(arrays), np.full((2, 3), 4321.0))
    assert_allclose(teacher(dict(zip(names, arrays, strict=True))), np.full((2, 3), 4321.0))


FORKED = {
    "no output chosen": ({}, r"one output of the teacher .*output_0, output_1.*Pass signature_output"),
    "unknown output": ({"signature_output": "output_2"}, "signature_output to be one of output_0, output_1"),
    "other inputs": (
        {"signature_output": "output_0", "input_shape": (5,)},
        r"a dict of ids, size for .*Received: 1 without names\.",
    ),
    "other names": (
        {"signature_output": "output_0", "input_shape": {"ids": (5,), "sise": (2,)}},
        r"a dict of ids, size for .*Received: ids, sise\.",
    ),
    "other shape": (
        {"signature_output": "output_0", "input_shape": {"ids": (4,), "size": (2,)}},
        r"shape \(None, 5\) for the input 'ids' .*Received: \(None, 4\).*keras.Model",
    ),
    "floats for integers": (
        {"signature_output": "output_0", "input_shape": {"ids": (5,), "size": (2,)}},
        "int32 for the input 'ids' .*Received: float32.*Cast",
    ),
    "other classes": (
        {"signature_output": "output_0", "classes": 4},
        r"outputs of shape \(None, 4\) .*Received: outputs of shape \(None, 3\)",
    ),
}


@pytest.mark.parametrize("case", FORKED)
def test_what_does_not_fit_a_file(forked, case):
    options, message = FORKED[case]
    with pytest.raises(ValueError, match=f"^Expected {message}"):
        as_teacher(forked[0], **options)


class Functions(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 4))])
    def serve(self, x):
        return x[:, :3]

    @tf.function(input_signature=[tf.TensorSpec((None, 4))])
    def other(self, x):
        return x[:, 1:] * 2.0

    @tf.function(input_signature=[tf.TensorSpec((None, 4))])
    def labels(self, x):
        return tf.argmax(x, axis=-1)[:, None]

    @tf.function(input_signature=[tf.TensorSpec((None, 4))])
    def one_number(self, x):
        return x[:, 0]

    @tf.function(input_signature=[tf.TensorSpec(None)])
    def open(self, x):
        return tf.reshape(x, (tf.shape(x)[0], -1))[:, :3]

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def text(self, x):
        lengths = tf.cast(tf.strings.length(x), tf.float32)
        return tf.stack([lengths, -lengths], axis=-1)


def saved(folder, *names):
    functions = Functions()
    path = folder / ("_".join(names) or "none")
    if not path.exists():
        tf.saved_model.save(functions, path, signatures={name: getattr(functions, name) for name in names})
    return path


def test_signatures(folder):
    assert_array_equal(as_teacher(saved(folder))(ROWS), ROWS[:, :3])  # No signature: the endpoint `serve`.
    assert_array_equal(as_teacher(saved(folder, "serve", "other"))(ROWS), ROWS[:, :3])
    assert_array_equal(as_teacher(saved(folder, "serve", "other"), signature="other")(ROWS), ROWS[:, 1:] * 2)
    teacher = as_teacher(saved(folder, "other"))  # The only one, then the endpoint.
    assert_array_equal(teacher(ROWS), ROWS[:, :3])


def test_a_teacher_with_nothing_to_run(folder):
    tf.saved_model.save(tf.Module(), folder / "empty")
    with pytest.raises(
        ValueError, match=r"^Expected a signature serving_default or serve .*no signature at all.*model.e"
    ):
        as_teacher(folder / "empty")
    with pytest.raises(ValueError, match=r"^Expected a signature 'third' .*Received: other, serve\. Pass signature="):
        as_teacher(saved(folder, "serve", "other"), signature="third")


def test_outputs_that_teach_nothing(folder):
    with pytest.raises(
        ValueError, match=r"a floating-point output .*Received: 'output_0' of dtype int64.*no soft targets"
    ):
        as_teacher(saved(folder, "labels"), signature="labels")
    with pytest.raises(ValueError, match="a row of classes for each sample"):
        as_teacher(saved(folder, "one_number"), signature="one_number")


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_knows_no_shape(folder, known):
    options = {"input_shape": (2, 2)} if known else {}
    teacher = as_teacher(saved(folder, "open"), signature="open", **options)
    assert (teacher.outputs is not None) is known
    result = tf.function(lambda x: teacher(x))(ROWS.reshape(5, 2, 2))
    assert result.shape == (5, 3)
    assert_array_equal(result, ROWS[:, :3])
    assert teacher.outputs[0].shape == (None, 3)


def test_text_is_taken_and_found_not_to_compile(folder):
    teacher = as_teacher(saved(folder, "text"), signature="text")
    assert_array_equal(teacher(tf.constant(["a", "bcd"])), [[1, -1], [3, -3]])
    assert not teacher.compiles()
    assert as_teacher(saved(folder, "serve", "other")).compiles()


# What is not installed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "package", "message"),
    [
        (
            ".tflite",
            "ai_edge_litert.interpreter",
            "^Expected ai-edge-litert, .*: pip install .ai-edge-litert",
        ),
        (".onnx", "onnxruntime", "^Expected onnxruntime.*pip install "),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, tmp_path, kind, package, message):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    path = tmp_path / f"teacher{kind}"
    path.write_bytes(b"")
    with pytest.raises(ImportError, match=message):
        as_teacher(path)
