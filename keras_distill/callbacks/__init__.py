"""Callbacks for `Distiller.fit`."""

from keras_distill.callbacks.momentum_teacher import MomentumTeacher as MomentumTeacher
from keras_distill.callbacks.temperature_scheduler import TemperatureScheduler as TemperatureScheduler
