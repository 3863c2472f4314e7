"""Losses of the last layer: one file per idea, each with its pure functions and the classes over them."""

from keras_distill.losses.logits.base import LogitLoss as LogitLoss
from keras_distill.losses.logits.base import check_classes as check_classes
from keras_distill.losses.logits.base import check_temperature as check_temperature
from keras_distill.losses.logits.soft_targets import LogitMatching as LogitMatching
from keras_distill.losses.logits.soft_targets import LogitsDistillation as LogitsDistillation
