"""Features of a model: tapped in the forward pass that is made anyway, by layers named, matched or paired."""

from keras_distill.features.fusion import AttentionBasedFusion as AttentionBasedFusion
from keras_distill.features.fusion import ReviewFusion as ReviewFusion
from keras_distill.features.layers import find_layer as find_layer
from keras_distill.features.layers import find_layers as find_layers
from keras_distill.features.layers import layer_shapes as layer_shapes
from keras_distill.features.overhaul import batch_norm_margin as batch_norm_margin
from keras_distill.features.pairing import choose_layers as choose_layers
from keras_distill.features.pairing import embedding_layer as embedding_layer
from keras_distill.features.pairing import pair_layers as pair_layers
from keras_distill.features.paraphraser import Paraphraser as Paraphraser
from keras_distill.features.paraphraser import Translator as Translator
from keras_distill.features.paraphraser import train_paraphraser as train_paraphraser
from keras_distill.features.taps import FINAL_OUTPUT as FINAL_OUTPUT
from keras_distill.features.taps import FeatureExtractor as FeatureExtractor
from keras_distill.features.taps import tap as tap
