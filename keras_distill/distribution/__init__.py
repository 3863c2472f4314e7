"""Training on several devices and several machines with the strategies of `tf.distribute`."""

from keras_distill.distribution.cluster import Cluster
from keras_distill.distribution.data import distribute
from keras_distill.distribution.launcher import launch
from keras_distill.distribution.strategies import NAMES, is_chief, strategy

__all__ = ["NAMES", "Cluster", "distribute", "is_chief", "launch", "strategy"]
