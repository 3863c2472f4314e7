"""Quantization-aware distillation: training a student with the arithmetic of its int8 file."""

from keras_distill.quantization.activations import gelu_tanh
from keras_distill.quantization.aware import calibrate, check_trained, is_quantize_aware, quantize_aware, ranges
from keras_distill.quantization.operations import OPERATIONS
from keras_distill.quantization.ranges import FakeQuantization
from keras_distill.quantization.rounding import own_range, same_range
from keras_distill.quantization.rules import LAYERS
from keras_distill.quantization.stripping import float_student
from keras_distill.quantization.weights import rounded_weights

__all__ = [
    "LAYERS",
    "OPERATIONS",
    "FakeQuantization",
    "calibrate",
    "check_trained",
    "float_student",
    "gelu_tanh",
    "is_quantize_aware",
    "own_range",
    "quantize_aware",
    "ranges",
    "rounded_weights",
    "same_range",
]
