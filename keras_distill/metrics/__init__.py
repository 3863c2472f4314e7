"""Metrics of fidelity: how well the student says what its teacher says."""

from keras_distill.metrics.agreement import Agreement as Agreement
from keras_distill.metrics.agreement import agreement as agreement
