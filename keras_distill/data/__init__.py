"""Data for recipes: arrays with fixed splits, and batches whose order depends only on a seed."""

from keras_distill.data.augmentation import crops, mixup
from keras_distill.data.batches import Batches
from keras_distill.data.bundle import Data
from keras_distill.data.indexed import indexed
from keras_distill.data.loading import NAMES, digits, load
from keras_distill.data.mixing import mix

__all__ = ["NAMES", "Batches", "Data", "crops", "digits", "indexed", "load", "mix", "mixup"]
