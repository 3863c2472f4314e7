"""What `import keras_distill` costs beyond `import keras`."""

import pytest

from benchmarks.import_time import measure

OPTIONAL = {
    "ai_edge_litert",
    "apache_beam",
    "click",
    "matplotlib",
    "nbformat",
    "onnxruntime",
    "sklearn",
    "tensorflow_datasets",
}


@pytest.mark.slow
def test_import_is_quick_and_brings_in_nothing_optional():
    found = measure()
    assert found["keras_distill"] < 0.3
    assert not OPTIONAL & set(found["modules"])
