"""Distillation in several stages: chains of assistants, generations, students that teach each other."""

from keras_distill.stages.chain import chain
from keras_distill.stages.generations import born_again
from keras_distill.stages.momentum import momentum_teacher
from keras_distill.stages.mutual import MutualLearning

__all__ = ["MutualLearning", "born_again", "chain", "momentum_teacher"]
