"""Anything that turns a batch into soft targets: ensembles, specialists, files, services, maps of classes."""

from keras_distill.answers.legacy import at_temperature, with_temperatures
from keras_distill.teachers.base import Teacher
from keras_distill.teachers.class_map import MappedClasses, map_classes, merge_classes
from keras_distill.teachers.clusters import find_clusters, specialist_labels
from keras_distill.teachers.ensemble import Ensemble, confidences, geometric_mean, mean_of_logits, mean_of_probabilities
from keras_distill.teachers.loading import as_teacher
from keras_distill.teachers.members import Member
from keras_distill.teachers.onnx import ONNXTeacher
from keras_distill.teachers.precision import in_precision
from keras_distill.teachers.remote import CallableTeacher
from keras_distill.teachers.saved_model import SavedModelTeacher
from keras_distill.teachers.specialists import Specialists, active_specialists, combine_specialists
from keras_distill.teachers.tflite import TFLiteTeacher
from keras_distill.teachers.trust import Trust, corrected, trust_weights

__all__ = [
    "CallableTeacher",
    "Ensemble",
    "MappedClasses",
    "Member",
    "ONNXTeacher",
    "SavedModelTeacher",
    "Specialists",
    "TFLiteTeacher",
    "Teacher",
    "Trust",
    "active_specialists",
    "as_teacher",
    "at_temperature",
    "combine_specialists",
    "confidences",
    "corrected",
    "find_clusters",
    "geometric_mean",
    "in_precision",
    "map_classes",
    "mean_of_logits",
    "mean_of_probabilities",
    "merge_classes",
    "specialist_labels",
    "trust_weights",
    "with_temperatures",
]
