"""Features of a model: taken in its forward pass, from layers that are named, matched or paired."""

from keras_distill.features.fusion import AttentionBasedFusion, ReviewFusion
from keras_distill.features.layers import find_layer, find_layers, layer_shapes
from keras_distill.features.overhaul import batch_norm_margin
from keras_distill.features.pairing import choose_layers, embedding_layer, pair_layers
from keras_distill.features.paraphraser import Paraphraser, Translator, train_paraphraser
from keras_distill.features.taps import FINAL_OUTPUT, FeatureExtractor, tap

__all__ = [
    "AttentionBasedFusion",
    "FINAL_OUTPUT",
    "FeatureExtractor",
    "Paraphraser",
    "ReviewFusion",
    "Translator",
    "batch_norm_margin",
    "choose_layers",
    "embedding_layer",
    "find_layer",
    "find_layers",
    "layer_shapes",
    "pair_layers",
    "tap",
    "train_paraphraser",
]
