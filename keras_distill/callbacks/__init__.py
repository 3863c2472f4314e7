"""Callbacks for `Distiller.fit`."""

from keras_distill.callbacks.dark_knowledge import DarkKnowledge
from keras_distill.callbacks.input_watch import InputWatch
from keras_distill.callbacks.momentum_teacher import MomentumTeacher
from keras_distill.callbacks.temperature_scheduler import TemperatureScheduler
from keras_distill.callbacks.weight_scheduler import WeightScheduler

__all__ = ["DarkKnowledge", "InputWatch", "MomentumTeacher", "TemperatureScheduler", "WeightScheduler"]
