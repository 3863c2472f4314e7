"""The methods as pure functions of arrays. `standardize` can be composed with those that compare logits."""

from keras_distill.losses.contrastive import crd
from keras_distill.losses.embeddings.cc import cc
from keras_distill.losses.embeddings.pkt import pkt
from keras_distill.losses.embeddings.rkd import rkd
from keras_distill.losses.feature_maps.activation_boundaries import ab
from keras_distill.losses.feature_maps.attention import at
from keras_distill.losses.feature_maps.factor_transfer import ft
from keras_distill.losses.feature_maps.flow import fsp
from keras_distill.losses.feature_maps.hints import fitnet
from keras_distill.losses.feature_maps.neuron_selectivity import nst
from keras_distill.losses.feature_maps.overhaul import ofd
from keras_distill.losses.feature_maps.review import reviewkd_hcl
from keras_distill.losses.feature_maps.similarity import ickd, sp
from keras_distill.losses.feature_maps.variational import vid
from keras_distill.losses.logits.correlations import dist, inter_class, intra_class
from keras_distill.losses.logits.decoupled import dkd, nkd, non_target_class_divergence, target_class_divergence
from keras_distill.losses.logits.directed import forward_kl, reverse_kl, symmetric_kl
from keras_distill.losses.logits.distances import generalized_jsd, js_distance, tv_distance
from keras_distill.losses.logits.learned_temperature import ctkd
from keras_distill.losses.logits.multi_level import mlkd
from keras_distill.losses.logits.skewed import skew_forward_kl, skew_reverse_kl
from keras_distill.losses.logits.soft_targets import kd, soft_target_ce
from keras_distill.losses.logits.standardized import standardize
from keras_distill.losses.logits.transformed_teacher import ttm, wttm
from keras_distill.losses.logits.two_views import multi_level_two_views
from keras_distill.losses.logits.weighted_soft_labels import soft_label_weight, wsld

__all__ = [
    "ab",
    "at",
    "cc",
    "crd",
    "ctkd",
    "dist",
    "dkd",
    "fitnet",
    "forward_kl",
    "fsp",
    "ft",
    "generalized_jsd",
    "ickd",
    "inter_class",
    "intra_class",
    "js_distance",
    "kd",
    "mlkd",
    "multi_level_two_views",
    "nkd",
    "non_target_class_divergence",
    "nst",
    "ofd",
    "pkt",
    "reverse_kl",
    "reviewkd_hcl",
    "rkd",
    "skew_forward_kl",
    "skew_reverse_kl",
    "soft_label_weight",
    "soft_target_ce",
    "sp",
    "standardize",
    "symmetric_kl",
    "target_class_divergence",
    "ttm",
    "tv_distance",
    "vid",
    "wsld",
    "wttm",
]
