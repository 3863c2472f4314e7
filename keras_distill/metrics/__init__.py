"""Metrics: how well the student says what its teacher says, how well its probabilities fit the labels."""

from keras_distill.metrics.agreement import Agreement as Agreement
from keras_distill.metrics.agreement import ClassAgreement as ClassAgreement
from keras_distill.metrics.agreement import agreement as agreement
from keras_distill.metrics.agreement import class_agreement as class_agreement
from keras_distill.metrics.calibration import ExpectedCalibrationError as ExpectedCalibrationError
from keras_distill.metrics.calibration import ReliabilityCurve as ReliabilityCurve
from keras_distill.metrics.calibration import expected_calibration_error as expected_calibration_error
from keras_distill.metrics.calibration import reliability_curve as reliability_curve
from keras_distill.metrics.dark_knowledge import DarkKnowledgeCorrelation as DarkKnowledgeCorrelation
from keras_distill.metrics.dark_knowledge import dark_knowledge_correlation as dark_knowledge_correlation
from keras_distill.metrics.divergence import TeacherDivergence as TeacherDivergence
from keras_distill.metrics.divergence import teacher_divergence as teacher_divergence
from keras_distill.metrics.fidelity import FidelityMetric as FidelityMetric
from keras_distill.metrics.labelled import Labelled as Labelled
from keras_distill.metrics.scores import BrierScore as BrierScore
from keras_distill.metrics.scores import NegativeLogLikelihood as NegativeLogLikelihood
from keras_distill.metrics.scores import brier_score as brier_score
from keras_distill.metrics.scores import negative_log_likelihood as negative_log_likelihood
