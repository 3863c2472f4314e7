"""Training on several devices and several machines, by the strategies of `tf.distribute`."""

from keras_distill.distribution.cluster import Cluster as Cluster
from keras_distill.distribution.data import distribute as distribute
from keras_distill.distribution.launcher import launch as launch
from keras_distill.distribution.strategies import NAMES as NAMES
from keras_distill.distribution.strategies import is_chief as is_chief
from keras_distill.distribution.strategies import strategy as strategy
