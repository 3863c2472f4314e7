"""Losses that compare feature maps: one file per idea, each with its pure functions and the classes over them."""

from keras_distill.losses.feature_maps.activation_boundaries import AB
from keras_distill.losses.feature_maps.attention import AT
from keras_distill.losses.feature_maps.factor_transfer import FT
from keras_distill.losses.feature_maps.flow import FSP
from keras_distill.losses.feature_maps.hints import FeatureDistillation
from keras_distill.losses.feature_maps.neuron_selectivity import NST
from keras_distill.losses.feature_maps.overhaul import OFD
from keras_distill.losses.feature_maps.review import ReviewKD
from keras_distill.losses.feature_maps.similarity import ICKD, SP
from keras_distill.losses.feature_maps.variational import VID

__all__ = ["AB", "AT", "FSP", "FT", "FeatureDistillation", "ICKD", "NST", "OFD", "ReviewKD", "SP", "VID"]
