"""Losses of feature maps: one file per idea, each with its pure functions and the classes over them."""

from keras_distill.losses.feature_maps.hints import FeatureDistillation as FeatureDistillation
from keras_distill.losses.feature_maps.hints import same_shape as same_shape
