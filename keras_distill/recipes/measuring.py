"""Measuring a trained model: its outputs, their accuracy, their agreement with the teacher, its size and latency."""

import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_distill.losses.divergences import kl_divergence
from keras_distill.metrics import agreement
from keras_distill.recipes.results import Cost
from keras_distill.recipes.training import Trained

_BATCH = 500
_TIMED_RUNS = 200


def compute_outputs(model: keras.Model, split: tuple[Any, Any]) -> np.ndarray:
    """Return a model's logits `[samples, classes]` on a split `(x, y)`."""
    # Called rather than predict(): TensorFlow warns about retracing when many models predict briefly.
    x = split[0]
    batches = [model(x[start : start + _BATCH], training=False) for start in range(0, len(x), _BATCH)]
    return np.concatenate([np.asarray(keras.ops.convert_to_numpy(batch)) for batch in batches])


def measure_training(
    trained: Trained, logits: np.ndarray, teacher_logits: np.ndarray, test: tuple[Any, Any]
) -> dict[str, Any]:
    """Return the figures of one training: those of the `Trained`, and those of its logits on the test split.

    Returns:
        Dict of the fields of a `keras_distill.recipes.results.Training`.
    """
    return {
        **trained.record(),
        "test_accuracy": float(np.mean(np.argmax(logits, axis=-1) == test[1])),
        "agreement": agreement(teacher_logits, logits),
    }


def measure_cost(model: Any, path: pathlib.Path) -> Cost:
    """Return what a model costs.

    Args:
        model: A built `keras.Model`.
        path: Path of its file.
    """
    return Cost(parameters=model.count_params(), bytes=path.stat().st_size, latency_us=_measure_latency_us(model))


def _measure_latency_us(model: Any) -> float:
    import tensorflow as tf

    graph = tf.function(lambda image: model(image, training=False))
    image = tf.zeros((1, *model.input_shape[1:]))
    times = []
    for _ in range(_TIMED_RUNS):
        start = time.perf_counter()
        graph(image).numpy()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def pick_examples(
    test: tuple[Any, Any], teacher: np.ndarray, alone: np.ndarray, distilled: np.ndarray, count: int = 4
) -> dict[str, np.ndarray]:
    """Pick instructive test images: teacher and student are right, the teacher is least sure, and classes differ.

    Args:
        test: Pair `(x, y)`.
        teacher: The teacher's logits `[samples, classes]`.
        alone: Logits of the student alone, of the same shape.
        distilled: Logits of the distilled student, of the same shape.
        count: Number of images. Defaults to 4.

    Returns:
        Dict of arrays: `x`, `y`, and the logits `teacher`, `alone`, `distilled` of the picked images.
    """
    x, y = test
    scaled = teacher - teacher.max(axis=-1, keepdims=True)
    probabilities = np.exp(scaled) / np.exp(scaled).sum(axis=-1, keepdims=True)
    right = (teacher.argmax(axis=-1) == y) & (distilled.argmax(axis=-1) == y)
    sureness = np.where(right, probabilities.max(axis=-1), np.inf)
    picked: dict[int, int] = {}
    for row in np.argsort(sureness, kind="stable"):
        picked.setdefault(int(y[row]), row)
    rows = np.array(list(picked.values())[:count])
    logits = {"teacher": teacher, "alone": alone, "distilled": distilled}
    return {"x": x[rows], "y": y[rows], **{name: values[rows] for name, values in logits.items()}}


def gather_predictions(
    test: tuple[Any, Any],
    teacher: np.ndarray,
    alone: Sequence[np.ndarray],
    distilled: Sequence[np.ndarray],
    exported: int,
    count: int = 9,
) -> dict[str, np.ndarray]:
    """Gather all models' outputs on the test split, and the samples on which the exported student differs most.

    Args:
        test: Pair `(x, y)`.
        teacher: The teacher's logits `[samples, classes]`.
        alone: Logits of the students alone, a list by seed.
        distilled: Logits of the distilled students, a list by seed.
        exported: Position of the exported student in that list.
        count: Number of samples with the largest divergence to keep the inputs of. Defaults to 9.

    Returns:
        Dict of arrays: labels `y` `[samples]`; logits `teacher` `[samples, classes]`, and `alone` and `distilled`
        `[seeds, samples, classes]`; `farthest` `[count]`, positions of samples by falling divergence, and `x`
        `[count, ...]`, their inputs.
    """
    x, y = test
    divergence = np.asarray(keras.ops.convert_to_numpy(kl_divergence(teacher, distilled[exported])))
    farthest = np.argsort(-divergence, kind="stable")[:count]
    logits = {"teacher": teacher, "alone": np.stack(alone), "distilled": np.stack(distilled)}
    return {"y": y, **logits, "farthest": farthest, "x": x[farthest]}
