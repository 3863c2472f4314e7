"""What a report says of each model: which measures, what they mean, and how they are written."""

import dataclasses
import math

from keras_distill import metrics
from keras_distill.drawing import numbers


@dataclasses.dataclass(frozen=True)
class Measure:
    """One row of the table of models.

    Attributes:
        name: Name in the JSON.
        heading: Name in numbers.
        group: What it tells of: `"answers"`, `"fidelity"` or `"cost"`.
        better: Which values are better, `"higher"` or `"lower"`.
        meaning: What it is, in a sentence.
        text: Function of a list of values, one per seed, that writes them.
        compute: Function `(labels, teacher_outputs, outputs)` of logits that computes it, NaN where it has no
            meaning; or `None` where the run has recorded it.
    """

    name: str
    heading: str
    group: str
    better: str
    meaning: str
    text: object
    compute: object = None

    def write(self, values):
        """Write the values of a model's trainings: their mean, and ± the standard deviation of several."""
        return numbers.percent(None) if not values or None in values else self.text(values)


# Group -> its heading.
GROUPS = {"answers": "Answers and probabilities", "fidelity": "Fidelity to the teacher", "cost": "Cost"}


def _labelled(name):
    return lambda labels, teacher, outputs: getattr(metrics, name)(labels, outputs)


def _compared(name, least_classes=2):
    def compute(labels, teacher, outputs):
        return getattr(metrics, name)(teacher, outputs) if outputs.shape[-1] >= least_classes else math.nan

    return compute


MEASURES = (
    Measure(
        "accuracy",
        "Accuracy",
        "answers",
        "higher",
        "Share of test samples of which the most likely class is the right one.",
        numbers.spread,
    ),
    Measure(
        "negative_log_likelihood",
        "Negative log-likelihood",
        "answers",
        "lower",
        "Mean of −log of the probability given to the right class, in nats.",
        numbers.mean,
        _labelled("negative_log_likelihood"),
    ),
    Measure(
        "brier_score",
        "Brier score",
        "answers",
        "lower",
        "Mean squared distance between the probabilities and the right answer; from 0 to 2.",
        numbers.mean,
        _labelled("brier_score"),
    ),
    Measure(
        "expected_calibration_error",
        "Calibration error",
        "answers",
        "lower",
        "Expected calibration error: how far confidence and accuracy are apart, on average.",
        numbers.spread,
        _labelled("expected_calibration_error"),
    ),
    Measure(
        "agreement",
        "Agreement",
        "fidelity",
        "higher",
        "Share of test samples to which student and teacher give the same answer, right or wrong.",
        numbers.spread,
    ),
    Measure(
        "teacher_divergence",
        "KL from the teacher",
        "fidelity",
        "lower",
        "Mean divergence KL(teacher, student) of their probabilities at temperature 1, in nats.",
        numbers.mean,
        _compared("teacher_divergence"),
    ),
    Measure(
        "dark_knowledge_correlation",
        "Rank correlation of the other classes",
        "fidelity",
        "higher",
        "How alike student and teacher order the classes other than the teacher's answer: 1 is the same order, 0 none.",
        numbers.mean,
        _compared("dark_knowledge_correlation", least_classes=3),
    ),
    Measure(
        "parameters", "Parameters", "cost", "lower", "Numbers that the model holds.", lambda values: f"{values[0]:,}"
    ),
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
