"""The fields of a row: their sizes, their errors, and the values that they cannot hold."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from keras_distill._core import guards
from keras_distill.targets import Encoding

LOGITS = (5.0 * np.random.default_rng(0).normal(size=(64, 40))).astype("float32")


def round_trip(encoding, logits=LOGITS):
    fields, error = encoding.encode(logits)
    return fields, encoding.decode(fields), float(error)


def test_float32_is_exact():
    _, decoded, error = round_trip(Encoding(40, dtype="float32"))
    np.testing.assert_array_equal(decoded, LOGITS)
    assert error == 0.0


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_the_error_is_measured_and_within_its_bound(dtype):
    fields, decoded, error = round_trip(Encoding(40, dtype=dtype))
    far = np.abs(decoded.numpy() - LOGITS).max()
    bound = np.abs(LOGITS).max() * 2.0**-11 if dtype == "float16" else fields["scale"].numpy().max() / 2
    assert 0.0 < far == pytest.approx(error)
    assert error <= bound * (1 + 1e-4)


def test_log_probabilities():
    _, decoded, _ = round_trip(Encoding(40, values="log_probabilities", dtype="float32"))
    np.testing.assert_allclose(decoded, log_softmax(LOGITS.astype("float64"), -1), rtol=1e-5, atol=1e-6)


def test_rows_that_overflow_float16_are_centred():
    logits = np.array([[1e5, 1e5 - 3.0, -1e6, -np.inf], [1.0, 2.0, 3.0, 4.0]], "float32")
    fields, decoded, error = round_trip(Encoding(4), logits)
    assert decoded.numpy()[0].tolist() == [0.0, -3.0, -65504.0, -np.inf]
    assert decoded.numpy()[1].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert fields["values"].dtype == tf.float16
    assert error == 0.0


@pytest.mark.parametrize(("classes", "dtype"), [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")])
def test_indices_have_the_smallest_dtype(classes, dtype):
    assert Encoding(classes, "top_k", k=2).fields["indices"] == (dtype, (2,))


def test_bytes_per_position():
    assert Encoding(10).bytes_per_position == 20
    assert Encoding(32_000, "top_k", k=32).bytes_per_position == 130
    assert Encoding(1000, dtype="int8").bytes_per_position == 1008


def test_the_largest_classes_in_eight_bits():
    encoding = Encoding(40, "top_k", dtype="int8", k=8)
    fields, top, error = round_trip(encoding)
    exact = np.sort(LOGITS, -1)[:, ::-1][:, :8]
    assert fields["values"].dtype == tf.uint8
    assert np.abs(top.values.numpy() - exact).max() <= error <= fields["scale"].numpy().max() / 2 * 1.001


def test_a_flat_row_in_eight_bits():
    _, decoded, error = round_trip(Encoding(3, dtype="int8"), np.full((1, 3), 7.5, "float32"))
    assert decoded.numpy().tolist() == [[7.5, 7.5, 7.5]]
    assert error == 0.0


@pytest.mark.parametrize(("value", "dtype"), [(np.nan, "float32"), (np.inf, "float16"), (-np.inf, "int8")])
def test_values_that_cannot_be_stored_are_refused(value, dtype):
    with pytest.raises(ValueError, match="finite logits from the teacher"), guards.explained():
        Encoding(2, dtype=dtype).encode(np.array([[value, 0.0]], "float32"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "topk"}, "Did you mean 'top_k'"),
        ({"dtype": "bfloat16"}, "dtype to be one of"),
        ({"k": 3}, 'k=None for kind="dense"'),
        ({"kind": "top_k", "k": 41}, "from 1 to 40"),
        ({"temperatures": (1.0, -1.0)}, "temperature > 0 in temperatures"),
    ],
)
def test_attributes_are_checked(change, words):
    with pytest.raises(ValueError, match=words):
        Encoding(**{"classes": 40, **change})


def test_an_encoding_is_restored_from_its_record():
    encoding = Encoding(40, "top_k", "log_probabilities", "float32", 4, (None,), (1.0, 4.0), False)
    assert Encoding.from_dict(encoding.to_dict()) == encoding
