"""Losses of large vocabularies: the last layer is applied to one chunk of tokens at a time."""

from keras_distill.losses.vocabulary.fused import FusedLoss, fused_distillation
from keras_distill.losses.vocabulary.loss import FusedVocabulary

__all__ = ["FusedLoss", "FusedVocabulary", "fused_distillation"]
