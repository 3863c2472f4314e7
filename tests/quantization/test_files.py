"""The converter's files, without calibration data: integers only, and the model's own answers."""

import keras
import numpy as np
import pytest

from keras_distill import quantization
from tests.quantization.files import agreement, convert, gaps_in_steps, types
from tests.quantization.layer_table import CASES, model_of

INTEGERS = {"INT8", "INT32"}


@pytest.fixture(scope="module")
def calibrated(student, digits):
    """Quantization-aware models by the bits of their weights, with the ranges of the training digits."""
    models = {bits: quantization.quantize_aware(student, weight_bits=bits) for bits in (8, 4)}
    for model in models.values():
        quantization.calibrate(model, digits.train[0])
    return models


@pytest.mark.slow
def test_file_is_of_integers_and_says_what_the_model_says(calibrated, digits, tmp_path):
    path = convert(calibrated[8], tmp_path)
    assert types(path) == INTEGERS
    (gaps,) = gaps_in_steps(path, calibrated[8], digits.test[0])
    assert gaps.max() <= 4.0
    assert gaps.mean() < 0.3
    assert agreement(path, calibrated[8], digits.test[0]) >= 0.99


@pytest.mark.slow
def test_four_bits_are_four_in_the_file(calibrated, digits, tmp_path):
    path = convert(calibrated[4], tmp_path)
    assert types(path) == INTEGERS | {"INT4"}
    assert agreement(path, calibrated[4], digits.test[0][:100]) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("shape", {shape: None for shape, _, _ in CASES.values()}, ids=len)
def test_all_layers_of_the_table_convert(shape, tmp_path):
    """One file for the models of a shape, since a conversion costs seconds."""
    cases = sorted(case for case in CASES if CASES[case][0] == shape)
    inputs = keras.Input(shape, name="x")
    outputs = [keras.layers.Flatten()(_named(model_of(case), case)(inputs)) for case in cases]
    model = quantization.quantize_aware(keras.Model(inputs, outputs))
    x = np.random.default_rng(3).normal(size=(64, *shape)).astype("float32")
    quantization.calibrate(model, x)
    path = convert(model, tmp_path)
    assert types(path) <= INTEGERS
    gaps = dict(zip(cases, gaps_in_steps(path, model, x), strict=True))
    assert not {case: gap.max() for case, gap in gaps.items() if gap.max() > CASES[case][2] + 1e-3}


def _named(model, case):
    return keras.Model(model.input, model.output, name=case.replace(" ", "_"))
