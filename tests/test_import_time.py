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
    # On a machine at work both take longer; on an idle one Keras takes about 3 s.
    assert found["keras_distill"] < max(0.3, 0.1 * found["keras"])
    assert not OPTIONAL & set(found["modules"])
