"""The model card: its Python code runs the files, and its other code has the names and dtypes of the files."""

import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.export import publishing
from keras_distill.export.quiet import quiet
from keras_distill.export.reporting import card
from keras_distill.export.reporting.card_cpp import name_method
from keras_distill.export.reporting.report import Artifact
from keras_distill.export.runtimes.litert import LiteRTRuntime
from keras_distill.export.signature import Signature, Tensor, read_inputs, read_signature
from keras_distill.export.tflite import flatbuffer, metadata
from keras_distill.export.tflite.c_array import write_c_array

RNG = np.random.default_rng(0)
DATA = {"image": RNG.random((8, 6, 6, 1), dtype="float32"), "model": RNG.random((8, 2), dtype="float32")}
LABELS = {"species": ["shrike", "wren", "crow"]}
FILES = {"tflite": "student.tflite", "tflite_int8": "student_int8.tflite"}


def test_names_are_text_rather_than_markdown(tmp_path):
    output = Tensor("species", "species", (None, 3), "float32")
    names = ["<img src=x>", "a|b *c* `d`", "[e](http://f) & g"]
    manifest = {"student": {"name": "<b>_s_</b>"}}
    signature = Signature((), (output,), None, {})
    text = card.write(tmp_path, [], signature, labels={"species": names}, manifest=manifest).read_text()
    assert r"# \<b\>\_s\_\</b\>" in text
    assert r"0 \<img src=x\>, 1 a\|b \*c\* \`d\`, 2 \[e\](http://f) \& g." in text


@pytest.fixture(scope="module")
def student():
    """Two inputs, one of them with a name that the code uses too, and two outputs."""
    keras.utils.set_random_seed(0)
    image, other = keras.Input((6, 6, 1), name="image"), keras.Input((2,), name="model")
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(image), other])
    sizes = {"species": 3, "age": 1}
    outputs = {name: keras.layers.Dense(size, name=name)(joined) for name, size in sizes.items()}
    return keras.Model({"image": image, "model": other}, outputs, name="birds")


def converted(student, int8):
    """Convert by TensorFlow itself."""
    specs = [tf.TensorSpec((1, *x.shape[1:]), name=name) for name, x in DATA.items()]
    weights = {name: student.get_layer(name).get_weights() for name in ("species", "age")}

    @tf.function
    def function(image, model):
        joined = tf.concat([tf.reshape(image, (1, 36)), model], 1)
        return {name: joined @ kernel + bias for name, (kernel, bias) in weights.items()}

    with quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function.get_concrete_function(*specs)], tf.Module()
        )
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([x[row : row + 1] for x in DATA.values()] for row in range(8))
            converter.inference_input_type = converter.inference_output_type = tf.int8
        return converter.convert()


@pytest.fixture(scope="module")
def exported(student, tmp_path_factory):
    """`(folder, signature, rows)` of a float and an int8 file with labels in them."""
    folder, rows = tmp_path_factory.mktemp("card"), []
    signature = read_signature(student, *read_inputs(student, DATA), DATA)
    for name, file in FILES.items():
        (folder / file).write_bytes(converted(student, name == "tflite_int8"))
        metadata.attach(folder / file, metadata.describe(signature, LABELS))
        size = (folder / file).stat().st_size
        rows.append(Artifact(name, "passed", f"/elsewhere/{file}", size, agreement=0.99, student_accuracy=0.9))
    rows.append(Artifact("onnx", "failed: no kernel for Erfc | Erf"))
    return folder, signature, rows


MANIFEST = {
    "student": {"name": "birds"},
    "verified_on": {"argument": "evaluation_data", "samples": 397},
    "calibrated_on": {"samples": 200},
    "versions": {"keras": "3.15", "numpy": None},
}


def written(exported, formats=FILES):
    folder, signature, rows = exported
    rows = [row for row in rows if row.format in formats or not row.passed]
    return card.write(folder, rows, signature, labels=LABELS, manifest=MANIFEST).read_text()


def code(text, tag):
    return re.search(rf"```{tag}\n(.*?)\n```", text, re.DOTALL)[1]


@pytest.mark.parametrize("name", FILES)
def test_the_python_code_gives_the_students_answers(name, exported, student, tmp_path):
    folder, _, _ = exported
    np.savez(tmp_path / "data.npz", **DATA)
    script = code(written(exported, [name]), "python") + (
        f"\n\ndata = np.load({str(tmp_path / 'data.npz')!r})\n"
        "answers = [predict(*pair) for pair in zip(*(data[name] for name in ARGUMENTS))]\n"
        "np.savez('answers.npz', *(np.stack(side) for side in zip(*answers)))\n"
    )
    arguments = re.search(r"def predict\((.*?)\)", script)[1].replace("model_", "model").split(", ")
    names = re.search(r"\n    return (.*)\n", script)[1].split(", ")
    assert sorted(arguments) == ["image", "model"] and sorted(names) == ["age", "species"]
    (folder / "use.py").write_text(f"ARGUMENTS = {arguments}\n{script}")
    result = subprocess.run([sys.executable, "use.py"], cwd=folder, capture_output=True, text=True, timeout=900)
    (folder / "use.py").unlink()
    assert result.returncode == 0, result.stderr
    with np.load(folder / "answers.npz") as answers:
        found = dict(zip(names, answers.values(), strict=True))
    file, wanted = LiteRTRuntime(folder / FILES[name])(DATA), student(DATA)
    for output, values in found.items():
        np.testing.assert_allclose(values, file[output], atol=1e-6)
        np.testing.assert_allclose(values, wanted[output], atol=1e-5 if name == "tflite" else 0.1)


def test_code_in_other_languages_has_the_names_of_the_file(exported):
    text = written(exported)
    kotlin, swift, javascript = (code(text, tag) for tag in ("kotlin", "swift", "javascript"))
    smallest = min(FILES.values(), key=lambda file: (exported[0] / file).stat().st_size)
    assert smallest in kotlin and 'createInputBuffer("image")' in kotlin and 'createOutputBuffer("age")' in kotlin
    assert "36 numbers, 6 × 6 × 1, float32" in kotlin
    assert 'forResource: "student", ofType: "tflite"' in swift
    assert "'@litertjs/core'" in javascript and '"image": new Tensor(image, [1, 6, 6, 1])' in javascript
    for source in (kotlin, swift, javascript):
        assert "model_" in source and all(source.count(a) == source.count(b) for a, b in ("()", "[]", "{}"))


def test_integers_are_quantized_where_the_runtime_takes_them(exported):
    text = written(exported, ["tflite_int8"])
    kotlin = code(text, "kotlin")
    assert "writeInt8(ByteArray(36)" in kotlin and ".coerceIn(-128, 127).toByte()" in kotlin
    assert ".readInt8().map { (it - " in kotlin and "import kotlin.math.roundToInt" in kotlin
    scale = re.search(r"image\[it\] / ([\d.e-]+)f", kotlin)[1]
    assert f"| `student_int8.tflite` | `image` | int8 | {float(scale):.9g} |" in text
    assert "```swift" not in text
    assert text.count("No file here has only inputs and outputs that this runtime takes") == 2


def test_the_card_contains_everything_needed(exported):
    text, folder = written(exported), exported[0]
    for words in (
        "# birds\n",
        "Labels of `species`: 0 shrike, 1 wren, 2 crow.",
        "| `image` | any × 6 × 6 × 1 | float32 | what the student was trained on |",
        "| onnx | failed: no kernel for Erfc \\| Erf |",
        "on 397 samples of `evaluation_data`",
        "measured on 200 samples",
        "Written with keras 3.15.",
        f"| `student.tflite` | `{publishing.sha256(folder / 'student.tflite')}` |",
    ):
        assert words in text
    assert " None" not in text and str(folder) not in text


def test_the_card_describes_preprocessing(exported):
    from keras_distill.export.preprocessing import Preprocessing

    folder, signature, rows = exported
    for in_graph, words in ((True, "raw values; the file itself computes"), (False, "computed from raw uint8 values")):
        steps = {"image": Preprocessing(mean=0.5, std=(0.25,), in_graph=in_graph)}
        text = card.write(folder, rows, signature, steps, name="MODEL_CARD.md").read_text()
        assert words in text and "(raw × 0.00392156863 + 0 − 0.5) / 0.25" in text


STUBS = {
    "micro_interpreter.h": "#include <cstdint>\nenum TfLiteStatus { kTfLiteOk };\n"
    "namespace tflite { struct Model; struct MicroInterpreter {"
    " template <class R> MicroInterpreter(const Model*, R&, uint8_t*, int) {} TfLiteStatus AllocateTensors();"
    " TfLiteStatus Invoke(); template <class T> T* typed_input_tensor(int); template <class T> T* typed_output_tensor(int);"
    " }; }",
    "micro_mutable_op_resolver.h": "namespace tflite { template <int> struct MicroMutableOpResolver { void AddReshape();"
    " void AddConcatenation(); void AddFullyConnected(); void AddMul(); void AddAdd(); }; }",
    "schema_generated.h": "namespace tflite { struct Model; const Model* GetModel(const void*); }",
}
"""What the program needs of TensorFlow Lite for Microcontrollers, declared."""


def test_the_cpp_code_names_the_file_its_operators_and_its_integers(exported, tmp_path):
    folder, signature, rows = exported
    (folder / "c_array_int8").mkdir()
    write_c_array(folder / FILES["tflite_int8"], folder / "c_array_int8" / "student_int8.cc", "student_int8")
    row = Artifact("c_array_int8", "passed", "/elsewhere/c_array_int8", 1000, arena_bytes=1728)
    text = card.write(folder, [*rows, row], signature, labels=LABELS, name="CARD.md").read_text()
    program = code(text, "cpp")
    assert "kArenaSize = 1904;  // Measured on x86-64: 1728." in program and "tflite::GetModel(student_int8)" in program
    model = flatbuffer.load_model(folder / "c_array_int8")
    operators = {name for name, _ in flatbuffer.list_operators(model)}
    assert sorted(re.findall(r"resolver\.Add(\w+)\(\);", program)) == sorted(
        name_method(each)[3:] for each in operators
    )
    for end in (*flatbuffer.read_ends(model)[0], *flatbuffer.read_ends(model)[1]):
        assert f"<int8_t>({end.place})" in program and f"{end.scale:.9g}" in program
    if shutil.which("g++"):
        for name, content in STUBS.items():
            for place in ("micro", "schema"):
                (tmp_path / "tensorflow/lite" / place).mkdir(parents=True, exist_ok=True)
                (tmp_path / "tensorflow/lite" / place / name).write_text(content)
        (tmp_path / "main.cc").write_text(program)
        flags = ["-std=c++17", "-Wall", "-Wno-unused-variable", "-Werror", "-fsyntax-only"]
        command = ["g++", *flags, f"-I{tmp_path}", f"-I{folder / 'c_array_int8'}", str(tmp_path / "main.cc")]
        compiled = subprocess.run(command, capture_output=True, text=True)
        assert compiled.returncode == 0, compiled.stderr


def test_operators_are_named_as_the_resolver_names_them():
    names = {
        "CONV_2D": "Conv2D",
        "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
        "L2_NORMALIZATION": "L2Normalization",
        "SPACE_TO_BATCH_ND": "SpaceToBatchNd",
        "BATCH_MATMUL": "BatchMatMul",
        "RELU6": "Relu6",
        "SPLIT_V": "SplitV",
        "PADV2": "PadV2",
        "ARG_MAX": "ArgMax",
    }
    assert {name: name_method(name) for name in names} == {name: f"Add{method}" for name, method in names.items()}
