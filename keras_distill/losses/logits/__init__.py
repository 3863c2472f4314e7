"""Losses that compare logits: one file per idea, each with its pure functions and the classes over them."""

from keras_distill.losses.logits.base import (
    LabelledLogitLoss,
    LogitFunctionLoss,
    LogitLoss,
    TemperedLogitLoss,
    check_classes,
    check_temperature,
)
from keras_distill.losses.logits.correlations import DIST
from keras_distill.losses.logits.decoupled import DKD, NKD
from keras_distill.losses.logits.directed import ForwardKL, ReverseKL, SymmetricKL
from keras_distill.losses.logits.distances import GeneralizedJSD, JSDistance, TVDistance
from keras_distill.losses.logits.learned_temperature import CTKD
from keras_distill.losses.logits.multi_level import MLKD
from keras_distill.losses.logits.skewed import SkewForwardKL, SkewReverseKL
from keras_distill.losses.logits.soft_targets import LogitMatching, LogitsDistillation
from keras_distill.losses.logits.standardized import LogitStandardization
from keras_distill.losses.logits.transformed_teacher import TTM, WTTM
from keras_distill.losses.logits.weighted_soft_labels import WSLD

__all__ = [
    "CTKD",
    "DIST",
    "DKD",
    "ForwardKL",
    "GeneralizedJSD",
    "JSDistance",
    "LabelledLogitLoss",
    "LogitFunctionLoss",
    "LogitLoss",
    "LogitMatching",
    "LogitStandardization",
    "LogitsDistillation",
    "MLKD",
    "NKD",
    "ReverseKL",
    "SkewForwardKL",
    "SkewReverseKL",
    "SymmetricKL",
    "TTM",
    "TVDistance",
    "TemperedLogitLoss",
    "WSLD",
    "WTTM",
    "check_classes",
    "check_temperature",
]
