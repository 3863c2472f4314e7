"""Losses of the last layer: one file per idea, each with its pure functions and the classes over them."""

from keras_distill.losses.logits.base import LogitLoss as LogitLoss
from keras_distill.losses.logits.base import TemperedLogitLoss as TemperedLogitLoss
from keras_distill.losses.logits.base import check_classes as check_classes
from keras_distill.losses.logits.base import check_temperature as check_temperature
from keras_distill.losses.logits.correlations import DIST as DIST
from keras_distill.losses.logits.decoupled import DKD as DKD
from keras_distill.losses.logits.decoupled import NKD as NKD
from keras_distill.losses.logits.directed import ForwardKL as ForwardKL
from keras_distill.losses.logits.directed import ReverseKL as ReverseKL
from keras_distill.losses.logits.directed import SymmetricKL as SymmetricKL
from keras_distill.losses.logits.distances import GeneralizedJSD as GeneralizedJSD
from keras_distill.losses.logits.distances import JSDistance as JSDistance
from keras_distill.losses.logits.distances import TVDistance as TVDistance
from keras_distill.losses.logits.learned_temperature import CTKD as CTKD
from keras_distill.losses.logits.multi_level import MLKD as MLKD
from keras_distill.losses.logits.skewed import SkewForwardKL as SkewForwardKL
from keras_distill.losses.logits.skewed import SkewReverseKL as SkewReverseKL
from keras_distill.losses.logits.soft_targets import LogitMatching as LogitMatching
from keras_distill.losses.logits.soft_targets import LogitsDistillation as LogitsDistillation
from keras_distill.losses.logits.standardized import LogitStandardization as LogitStandardization
from keras_distill.losses.logits.transformed_teacher import TTM as TTM
from keras_distill.losses.logits.transformed_teacher import WTTM as WTTM
from keras_distill.losses.logits.weighted_soft_labels import WSLD as WSLD
