"""The converter's files, without calibration data: they compute in integers only and match the model."""

import keras
import pytest

from keras_distill import quantization
from tests.quantization.files import ROUNDED, agreement, convert, gaps_in_steps, misses, types, with_every_rounded_value
from tests.quantization.layer_table import CASES, TOKENS, model_of, samples_of

# A mask of tokens is computed in truth values.
INTEGERS = {"INT8", "INT32"}
# Operations further from their exact result, by the beginning of their names. Where XNNPACK only changes the scale, it
# has the ratio of the two scales in 256ths: half of one, times the 127 steps of an input, is a quarter of a step.
# A ReLU whose input others take as well is computed with the layer before it, without the rounding between them: half
# a step of that layer's range, which spans at most 2.1 of the ReLU's, since it goes below zero as well.
_RESCALED = dict.fromkeys(("leaky", "maximum", "maxima", "concatenate", "slices"), ROUNDED + 0.25)
APART = _RESCALED | {"relu_of_": ROUNDED + 0.5 * 2.1}


@pytest.fixture(scope="module")
def calibrated(student, digits):
    """Quantization-aware models by the bits of their weights, with the ranges of the training digits."""
    models = {bits: quantization.quantize_aware(student, weight_bits=bits) for bits in (8, 4)}
    for model in models.values():
        quantization.calibrate(model, digits.train[0])
    return models


@pytest.mark.slow
def test_the_file_computes_in_integers_and_matches_the_model(calibrated, digits, tmp_path):
    path = convert(calibrated[8], tmp_path)
    assert types(path) == INTEGERS
    (gaps,) = gaps_in_steps(path, calibrated[8], digits.test[0])
    assert gaps.mean() < 0.3
    assert agreement(path, calibrated[8], digits.test[0]) >= 0.99


@pytest.mark.slow
def test_every_operation_of_a_trained_net_is_rounded_once(calibrated, digits, tmp_path):
    exposed = with_every_rounded_value(calibrated[8])
    path = convert(exposed, tmp_path)
    found = misses(path, exposed, digits.test[0])
    assert len(found) == len(exposed.outputs) > 6
    assert max(found.values()) <= ROUNDED, found


@pytest.mark.slow
def test_weights_of_four_bits_have_four_bits_in_the_file(calibrated, digits, tmp_path):
    path = convert(calibrated[4], tmp_path)
    assert types(path) == INTEGERS | {"INT4"}
    assert agreement(path, calibrated[4], digits.test[0][:100]) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("shape", {shape: None for shape, _ in CASES.values()}, ids=len)
def test_all_layers_of_the_table_convert(shape, tmp_path):
    """One file for the models of a shape, since a conversion costs seconds."""
    cases = sorted(case for case in CASES if CASES[case][0] == shape)
    inputs = keras.Input(shape, name="x", dtype="int32" if shape == TOKENS else "float32")
    outputs = [keras.layers.Flatten()(_named(model_of(case), case)(inputs)) for case in cases]
    model = quantization.quantize_aware(keras.Model(inputs, outputs))
    x = samples_of(shape, 64, seed=3)
    quantization.calibrate(model, x)
    exposed = with_every_rounded_value(model)
    path = convert(exposed, tmp_path)
    assert types(path) <= INTEGERS | ({"BOOL"} if shape == TOKENS else set())
    found = misses(path, exposed, x)
    assert not {name: miss for name, miss in found.items() if miss > _largest(name)}


def _largest(name):
    """Return how far an operation may be from its exact result: 0 if it only moves values."""
    if name.startswith("flatten"):
        return 1e-3
    return next((miss for start, miss in APART.items() if name.startswith(start)), ROUNDED)


def _named(model, case):
    return keras.Model(model.input, model.output, name=case.replace(" ", "_"))
