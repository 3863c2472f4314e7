"""Features of a model: tapped in the forward pass that is made anyway."""

from keras_distill.features.taps import FINAL_OUTPUT as FINAL_OUTPUT
from keras_distill.features.taps import feature_extractor as feature_extractor
