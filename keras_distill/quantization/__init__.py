"""Quantization-aware distillation: a student that trains with the arithmetic of its int8 file."""

from keras_distill.quantization.activations import gelu_tanh as gelu_tanh
from keras_distill.quantization.aware import calibrate as calibrate
from keras_distill.quantization.aware import check_trained as check_trained
from keras_distill.quantization.aware import is_quantize_aware as is_quantize_aware
from keras_distill.quantization.aware import quantize_aware as quantize_aware
from keras_distill.quantization.aware import ranges as ranges
from keras_distill.quantization.ranges import FakeQuantization as FakeQuantization
from keras_distill.quantization.rules import LAYERS as LAYERS
from keras_distill.quantization.rules import own_range as own_range
from keras_distill.quantization.rules import same_range as same_range
from keras_distill.quantization.stripping import float_student as float_student
from keras_distill.quantization.weights import rounded_weights as rounded_weights

__all__ = [
    "LAYERS",
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
