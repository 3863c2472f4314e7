"""Search for temperature, weights and learning rate on a validation split, by KerasTuner."""

from keras_distill.tuning.result import TuningResult
from keras_distill.tuning.search import tune

__all__ = ["TuningResult", "tune"]
