"""The measures of a report: how each is computed, what it means, and how it is written."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from keras_distill import metrics
from keras_distill.drawing import numbers

_Compute = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


@dataclasses.dataclass(frozen=True)
class Measure:
    """One row of the table of models.

    Attributes:
        name: Name in the JSON.
        heading: Name in the table.
        group: Key of `GROUPS`.
        better: Which values are better, `"higher"` or `"lower"`.
        meaning: What it is, in a sentence.
        text: Function that writes a list of values, one per seed.
        compute: Function `(labels, teacher_outputs, outputs)` of logits that computes it, NaN where it is undefined.
            `None` if the results of the run have it.
    """

    name: str
    heading: str
    group: str
    better: str
    meaning: str
    text: Callable[[Sequence[float]], str]
    compute: _Compute | None = None

    def write(self, values: Sequence[float | None] | None) -> str:
        """Write the values of a model's trainings: their mean, and ± the standard deviation of several."""
        known = [value for value in values or () if value is not None]
        return self.text(known) if values and len(known) == len(values) else numbers.percent(None)


GROUPS = {"answers": "Answers and probabilities", "fidelity": "Fidelity to the teacher", "cost": "Cost"}
"""Group of measures -> its heading."""


def _labelled(metric: Callable[..., float]) -> _Compute:
    return lambda labels, teacher, outputs: metric(labels, outputs)


def _compared(metric: Callable[..., float], least_classes: int = 2) -> _Compute:
    def compute(labels: np.ndarray, teacher: np.ndarray, outputs: np.ndarray) -> float:
        return metric(teacher, outputs) if outputs.shape[-1] >= least_classes else math.nan

    return compute


MEASURES = (
    Measure(
        "accuracy",
        "Accuracy",
        "answers",
        "higher",
        "Share of test samples whose most likely class is the right one.",
        numbers.spread,
    ),
    Measure(
        "negative_log_likelihood",
        "Negative log-likelihood",
        "answers",
        "lower",
        "Mean of −log of the probability of the right class, in nats.",
        numbers.mean,
        _labelled(metrics.negative_log_likelihood),
    ),
    Measure(
        "brier_score",
        "Brier score",
        "answers",
        "lower",
        "Mean squared distance between the probabilities and the one-hot label; from 0 to 2.",
        numbers.mean,
        _labelled(metrics.brier_score),
    ),
    Measure(
        "expected_calibration_error",
        "Calibration error",
        "answers",
        "lower",
        "Expected calibration error: the mean gap between confidence and accuracy.",
        numbers.spread,
        _labelled(metrics.expected_calibration_error),
    ),
    Measure(
        "agreement",
        "Agreement",
        "fidelity",
        "higher",
        "Share of test samples on which student and teacher give the same answer, right or wrong.",
        numbers.spread,
    ),
    Measure(
        "teacher_divergence",
        "KL from the teacher",
        "fidelity",
        "lower",
        "Mean divergence KL(teacher, student) of their probabilities at temperature 1, in nats.",
        numbers.mean,
        _compared(metrics.teacher_divergence),
    ),
    Measure(
        "dark_knowledge_correlation",
        "Rank correlation of the other classes",
        "fidelity",
        "higher",
        "How alike student and teacher rank the classes other than the teacher's answer: 1 is the same order, 0 is no "
        "relation.",
        numbers.mean,
        _compared(metrics.dark_knowledge_correlation, least_classes=3),
    ),
    Measure("parameters", "Parameters", "cost", "lower", "Number of parameters.", lambda values: f"{values[0]:,}"),
    Measure(
        "bytes",
        "Size of the Keras file",
        "cost",
        "lower",
        "Without the state of an optimizer.",
        lambda values: numbers.size(values[0]),
    ),
    Measure(
        "latency_us",
        "One sample",
        "cost",
        "lower",
        "Median time of a single sample as a TensorFlow graph, on the machine of the run.",
        lambda values: f"{values[0]:,.0f} µs",
    ),
)
