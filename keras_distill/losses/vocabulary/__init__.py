"""Losses of large vocabularies: the last layer is applied a few tokens at a time, and no logits stay."""

from keras_distill.losses.vocabulary.fused import FusedLoss as FusedLoss
from keras_distill.losses.vocabulary.fused import fused_distillation as fused_distillation
from keras_distill.losses.vocabulary.loss import FusedVocabulary as FusedVocabulary
