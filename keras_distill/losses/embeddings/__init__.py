"""Losses that compare the relations between samples in an embedding space: one file per method."""

from keras_distill.losses.embeddings.cc import CC
from keras_distill.losses.embeddings.pkt import PKT
from keras_distill.losses.embeddings.rkd import RKD

__all__ = ["CC", "PKT", "RKD"]
