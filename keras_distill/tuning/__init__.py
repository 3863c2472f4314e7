"""Choosing the temperature and the weights on a validation split, by KerasTuner."""

from keras_distill.tuning.result import TuningResult as TuningResult
from keras_distill.tuning.search import tune as tune
