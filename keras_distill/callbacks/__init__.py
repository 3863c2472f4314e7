"""Callbacks for `Distiller.fit`."""

from keras_distill.callbacks.dark_knowledge import DarkKnowledge as DarkKnowledge
from keras_distill.callbacks.input_watch import InputWatch as InputWatch
from keras_distill.callbacks.momentum_teacher import MomentumTeacher as MomentumTeacher
from keras_distill.callbacks.temperature_scheduler import TemperatureScheduler as TemperatureScheduler
from keras_distill.callbacks.weight_scheduler import WeightScheduler as WeightScheduler
