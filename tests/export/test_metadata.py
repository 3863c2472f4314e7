"""Labels and normalisation inside a file: this package and other readers read them, and outputs stay the same."""

import json
import re
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import number_types
from flatbuffers.table import Table

from keras_distill.export.preprocessing import Preprocessing
from keras_distill.export.signature import Signature, Tensor
from keras_distill.export.tflite import flatbuffer, metadata

IMAGE = Tensor("image", "image", (None, 4, 4, 3), "float32")
SPECIES, AGE = Tensor("species", "species", (None, 3), "float32"), Tensor("age", "age", (None, 1), "float32")
SIGNATURE = Signature((IMAGE,), (SPECIES, AGE), None, {})
LABELS = {"species": ["Grauwürger", "Neuntöter", "Raubwürger"]}
STEPS = {"image": Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), in_graph=False)}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A file of two outputs, as the converter writes it."""
    weights = tf.constant(np.random.default_rng(0).normal(size=(48, 4)), tf.float32)

    def call(image):
        scores = tf.reshape(image, (1, 48)) @ weights
        return {"species": scores[:, :3], "age": scores[:, 3:]}

    module = tf.Module()
    module.call = tf.function(call, [tf.TensorSpec((1, 4, 4, 3), name="image")])
    folder = tmp_path_factory.mktemp("metadata")
    tf.saved_model.save(module, str(folder), {"serving_default": module.call})
    path = folder / "plain.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert())
    return path


@pytest.fixture
def file(plain, tmp_path):
    path = tmp_path / "student.tflite"
    path.write_bytes(plain.read_bytes())
    metadata.attach(path, metadata.describe(SIGNATURE, LABELS, STEPS))
    return path


def answers(path):
    runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    return runner(image=np.random.default_rng(1).random((1, 4, 4, 3), dtype="float32"))


def test_it_computes_the_same(plain, file):
    before, after = answers(plain), answers(file)
    assert before.keys() == after.keys() == {"species", "age"}
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


def test_it_reads_back(file):
    content, files = metadata.read(file)
    assert content == json.loads(json.dumps(metadata.describe(SIGNATURE, LABELS, STEPS)))
    assert content["outputs"][0]["labels"] == LABELS["species"] and content["outputs"][1]["labels"] is None
    assert files == {"labels.txt": "Grauwürger\nNeuntöter\nRaubwürger\n".encode()}
    assert metadata.find_complaints(file, SIGNATURE, LABELS) == []


def test_the_file_is_a_zip_archive_of_its_labels(file):
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None and archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == LABELS["species"]
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED


def test_attaching_again_replaces(file):
    once = file.read_bytes()
    metadata.attach(file, metadata.describe(SIGNATURE, LABELS, STEPS))
    assert file.read_bytes() == once
    metadata.attach(file, metadata.describe(SIGNATURE), {"notes.txt": b"mine"})
    assert metadata.read(file)[1] == {"notes.txt": b"mine"}
    assert metadata.read(file)[0]["outputs"][0]["labels"] is None
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_weights_are_aligned_as_kernels_require(file):
    data = file.read_bytes()
    model = schema.Model.GetRootAs(data)
    held = [model.Buffers(index).DataAsNumpy() for index in range(model.BuffersLength())]
    starts = [data.index(array.tobytes()) for array in held if not isinstance(array, int) and array.size > 100]
    assert len(starts) >= 2 and all(start % 16 == 0 for start in starts)


class Reader:
    """A table of a flatbuffer, read by the numbers of its fields, as the published schema numbers them."""

    def __init__(self, data, position):
        self.data, self.table = data, Table(data, position)

    def at(self, slot):
        return self.table.Offset(4 + 2 * slot)

    def text(self, slot):
        return self.table.String(self.table.Pos + self.at(slot)).decode()

    def byte(self, slot):
        return self.table.Get(number_types.Uint8Flags, self.table.Pos + self.at(slot))

    def one(self, slot):
        return Reader(self.data, self.table.Indirect(self.table.Pos + self.at(slot)))

    def many(self, slot):
        start, count = self.table.Vector(self.at(slot)), self.table.VectorLen(self.at(slot))
        return [Reader(self.data, self.table.Indirect(start + 4 * place)) for place in range(count)]

    def floats(self, slot):
        return self.table.GetVectorAsNumpy(number_types.Float32Flags, self.at(slot)).tolist()


def test_readers_of_tflite_metadata_find_it(file):
    model = flatbuffer.parse(file.read_bytes())
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    data = bytearray(model.buffers[entry.buffer].data)
    assert data[4:8] == b"M001"
    (graph,) = Reader(data, int.from_bytes(data[:4], "little")).many(3)
    (image,), outputs = graph.many(2), {output.text(0): output for output in graph.many(3)}
    assert image.text(0) == "image"
    assert image.one(3).byte(0) == 2 and image.one(3).one(1).byte(0) == 1  # An image, in RGB.
    (unit,) = image.many(4)
    assert unit.byte(0) == 1  # A normalisation.
    np.testing.assert_allclose(unit.one(1).floats(0), [127.5, 102, 76.5], rtol=1e-6)
    np.testing.assert_allclose(unit.one(1).floats(1), [51, 63.75, 76.5], rtol=1e-6)
    (labels,) = outputs["species"].many(6)
    assert labels.text(0) == "labels.txt" and labels.byte(2) == 2  # Labels of an axis.
    assert outputs["age"].at(6) == 0


def test_labels_of_a_wrong_length_in_a_file_are_caught(file):
    content = metadata.describe(SIGNATURE, LABELS)
    content["outputs"][0]["labels"] = ["one", "two"]
    metadata.attach(file, content)
    wrong = "it holds 2 labels for output 'species', which has 3 classes"
    assert metadata.find_complaints(file, SIGNATURE, LABELS) == [wrong]
    assert metadata.find_complaints(file, SIGNATURE) == [wrong]


def test_wrong_and_missing_labels_and_damaged_files_are_caught(file, plain):
    others = {"species": ["a", "b", "c"]}
    assert metadata.find_complaints(file, SIGNATURE, others) == [
        "its labels of output 'species' differ from the given ones"
    ]
    assert metadata.find_complaints(plain, SIGNATURE, LABELS) == ["labels of output 'species' are missing"]
    assert metadata.find_complaints(plain, SIGNATURE) == []
    metadata.attach(file, metadata.describe(SIGNATURE, LABELS), {"labels.txt": b"a\nb\nc\n"})
    assert metadata.find_complaints(file, SIGNATURE, LABELS) == ["its file labels.txt is damaged"]
    file.write_bytes(file.read_bytes()[:500])
    assert re.match("its metadata cannot be read: .*whole TFLite file", metadata.find_complaints(file, SIGNATURE)[0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b", "c"], r"labels to be a dict by output \(species, age\)"),
        ({"species": ["a", "b"]}, "3 labels of output 'species', as many as it has classes. Received: 2"),
        ({"specie": ["a", "b", "c"]}, "labels of the outputs species, age. Received: 'specie'"),
        ({"species": ["a", "b", "b"]}, "to differ from each other. Received: 'b' twice"),
        ({"species": ["a", "b", "c\nd"]}, "to be text of one line each"),
        ({"species": [0, 1, 2]}, "to be text of one line each. Received: 0"),
    ],
)
def test_wrong_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        metadata.describe(SIGNATURE, labels)


def test_ends_of_a_file(plain):
    inputs, outputs = flatbuffer.read_ends(flatbuffer.parse(plain.read_bytes()))
    assert [str(end) for end in inputs] == ["image (1, 4, 4, 3) float32"]
    assert {end.name: end.shape for end in outputs} == {"species": (1, 3), "age": (1, 1)}
    assert [end.place for end in outputs] == [0, 1] and not outputs[0].quantized
    with pytest.raises(ValueError, match="a whole TFLite file. Received: 9 bytes without the TFLite identifier"):
        flatbuffer.parse(b"no model!")
