"""Losses of embeddings, which compare how samples lie to each other: one file per method."""

from keras_distill.losses.embeddings.cc import CC as CC
from keras_distill.losses.embeddings.pkt import PKT as PKT
from keras_distill.losses.embeddings.rkd import RKD as RKD
