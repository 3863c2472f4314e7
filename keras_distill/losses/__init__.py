"""Distillation losses: pure functions of arrays, and thin classes over them."""

from keras_distill.losses import divergences as divergences
from keras_distill.losses.base import DistillationLoss as DistillationLoss
from keras_distill.losses.feature_maps import FeatureDistillation as FeatureDistillation
from keras_distill.losses.logits import LogitMatching as LogitMatching
from keras_distill.losses.logits import LogitsDistillation as LogitsDistillation
