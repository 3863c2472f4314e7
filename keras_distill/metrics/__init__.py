"""Metrics of fidelity, how well the student says what its teacher says, and metrics of partly labelled batches."""

from keras_distill.metrics.agreement import Agreement as Agreement
from keras_distill.metrics.agreement import agreement as agreement
from keras_distill.metrics.labelled import Labelled as Labelled
