"""What a file tells its reader to do with raw bytes: nothing, or what the student was trained on."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_distill as kd
from tests.export.test_metadata import Reader

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def normalization_in(path):
    """Return mean and deviation of the only input, as the published schema of metadata has them."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (entry,) = [each for each in model.metadata if each.name == b"TFLITE_METADATA"]
    data = bytearray(model.buffers[entry.buffer].data)
    (graph,) = Reader(data, int.from_bytes(data[:4], "little")).many(3)
    (image,) = graph.many(2)
    (unit,) = image.many(4)
    return unit.one(1).floats(0), unit.one(1).floats(1)


@pytest.mark.parametrize("in_graph", [True, False])
def test_normalization_is_done_once(in_graph, tmp_path):
    layers = [keras.Input((4, 4, 3), name="image"), keras.layers.Flatten(), keras.layers.Dense(3, name="scores")]
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, size=(8, 4, 4, 3))
    images = images.astype("uint8") if in_graph else (images / 255.0).astype("float32")
    step = kd.export.Preprocessing(mean=MEAN, std=STD, in_graph=in_graph)
    report = kd.export.export(
        keras.Sequential(layers), tmp_path / "out", ("tflite",), evaluation_data=images, preprocessing=step
    )
    assert report.passed, str(report)
    mean, std = normalization_in(tmp_path / "out" / "student.tflite")
    if in_graph:
        assert (mean, std) == ([0.0], [1.0])
    else:
        np.testing.assert_allclose(mean, 255.0 * np.array(MEAN), rtol=1e-6)
        np.testing.assert_allclose(std, 255.0 * np.array(STD), rtol=1e-6)
