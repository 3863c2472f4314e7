"""Data for recipes: loaded as arrays, split once, walked through in an order that a seed decides."""

from keras_distill.data.augmentation import crops, mixup
from keras_distill.data.batches import Batches
from keras_distill.data.bundle import Data
from keras_distill.data.indexed import indexed
from keras_distill.data.mixing import mix
from keras_distill.data.prepared import NAMES, load
from keras_distill.data.scikit import digits

__all__ = ["NAMES", "Batches", "Data", "crops", "digits", "indexed", "load", "mix", "mixup"]
