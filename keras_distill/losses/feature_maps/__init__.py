"""Losses of feature maps: one file per idea, each with its pure functions and the classes over them."""

from keras_distill.losses.feature_maps.activation_boundaries import AB as AB
from keras_distill.losses.feature_maps.attention import AT as AT
from keras_distill.losses.feature_maps.factor_transfer import FT as FT
from keras_distill.losses.feature_maps.flow import FSP as FSP
from keras_distill.losses.feature_maps.hints import FeatureDistillation as FeatureDistillation
from keras_distill.losses.feature_maps.neuron_selectivity import NST as NST
from keras_distill.losses.feature_maps.overhaul import OFD as OFD
from keras_distill.losses.feature_maps.review import ReviewKD as ReviewKD
from keras_distill.losses.feature_maps.similarity import ICKD as ICKD
from keras_distill.losses.feature_maps.similarity import SP as SP
from keras_distill.losses.feature_maps.variational import VID as VID
