"""Data for recipes: loaded as arrays, split once, walked through in an order that a seed decides."""

from keras_distill.data.batches import Batches
from keras_distill.data.bundle import Data
from keras_distill.data.indexed import indexed
from keras_distill.data.prepared import NAMES, load
from keras_distill.data.scikit import digits

__all__ = ["NAMES", "Batches", "Data", "digits", "indexed", "load"]
