"""Metrics: how well the student agrees with its teacher, and how well its probabilities fit the labels."""

from keras_distill.metrics.agreement import Agreement, ClassAgreement, agreement, class_agreement
from keras_distill.metrics.base import FidelityMetric
from keras_distill.metrics.calibration import (
    ExpectedCalibrationError,
    ReliabilityCurve,
    expected_calibration_error,
    reliability_curve,
)
from keras_distill.metrics.dark_knowledge import DarkKnowledgeCorrelation, dark_knowledge_correlation
from keras_distill.metrics.divergence import TeacherDivergence, teacher_divergence
from keras_distill.metrics.labelled import Labelled
from keras_distill.metrics.scores import BrierScore, NegativeLogLikelihood, brier_score, negative_log_likelihood

__all__ = [
    "Agreement",
    "BrierScore",
    "ClassAgreement",
    "DarkKnowledgeCorrelation",
    "ExpectedCalibrationError",
    "FidelityMetric",
    "Labelled",
    "NegativeLogLikelihood",
    "ReliabilityCurve",
    "TeacherDivergence",
    "agreement",
    "brier_score",
    "class_agreement",
    "dark_knowledge_correlation",
    "expected_calibration_error",
    "negative_log_likelihood",
    "reliability_curve",
    "teacher_divergence",
]
