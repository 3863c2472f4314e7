"""Callbacks for `Distiller.fit`."""

from keras_distill.callbacks.temperature_scheduler import TemperatureScheduler as TemperatureScheduler
