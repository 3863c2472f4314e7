"""Measuring a trained model: what it answers, how well, how like the teacher, how large, how fast."""

import statistics
import time

import keras
import numpy as np

from keras_distill.losses.divergences import kl_divergence
from keras_distill.metrics import agreement

_BATCH = 500
_TIMED_RUNS = 200


def outputs(model, split):
    """Return a model's logits `[samples, classes]` on a split `(x, y)`."""
    # Called rather than predict(): TensorFlow takes one short predict() for each of many models for a mistake.
    x = split[0]
    batches = [model(x[start : start + _BATCH], training=False) for start in range(0, len(x), _BATCH)]
    return np.concatenate([keras.ops.convert_to_numpy(batch) for batch in batches])


def record(trained, logits, teacher_logits, test):
    """Return the figures of one training: those of the `Trained`, and those of its logits on the test split."""
    return {
        **trained.record(),
        "test_accuracy": float(np.mean(np.argmax(logits, axis=-1) == test[1])),
        "agreement": agreement(teacher_logits, logits),
    }


def cost(model, path):
    """Return what a model costs: parameters, bytes of its file, microseconds for one image.

    Args:
        model: A built `keras.Model`.
        path: Path of its file.

    Returns:
        A dict of `parameters`, `bytes` and `latency_us`: the median time of one image as a TensorFlow graph.
    """
    return {"parameters": model.count_params(), "bytes": path.stat().st_size, "latency_us": _latency_us(model)}


def _latency_us(model):
    import tensorflow as tf

    graph = tf.function(lambda image: model(image, training=False))
    image = tf.zeros((1, *model.input_shape[1:]))
    times = []
    for _ in range(_TIMED_RUNS):
        start = time.perf_counter()
        graph(image).numpy()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def examples(test, teacher, alone, distilled, count=4):
    """Pick test images that show much: teacher and student are right, the teacher is least sure, no class comes twice.

    Args:
        test: Pair `(x, y)`.
        teacher: The teacher's logits `[samples, classes]`.
        alone: Logits of the student alone.
        distilled: Logits of the distilled student.
        count: How many to pick. Defaults to 4.

    Returns:
        A dict of arrays: `x`, `y`, and the logits `teacher`, `alone`, `distilled` of the picked images.
    """
    x, y = test
    scaled = teacher - teacher.max(axis=-1, keepdims=True)
    probabilities = np.exp(scaled) / np.exp(scaled).sum(axis=-1, keepdims=True)
    right = (teacher.argmax(axis=-1) == y) & (distilled.argmax(axis=-1) == y)
    sureness = np.where(right, probabilities.max(axis=-1), np.inf)
    picked = {}
    for row in np.argsort(sureness, kind="stable"):
        picked.setdefault(int(y[row]), row)
    rows = np.array(list(picked.values())[:count])
    logits = {"teacher": teacher, "alone": alone, "distilled": distilled}
    return {"x": x[rows], "y": y[rows], **{name: values[rows] for name, values in logits.items()}}


def predictions(test, teacher, alone, distilled, exported, count=9):
    """Gather what every model answers on the test split, and where the exported student is farthest from its teacher.

    Args:
        test: Pair `(x, y)`.
        teacher: The teacher's logits `[samples, classes]`.
        alone: Logits of the students alone, a list by seed.
        distilled: Logits of the distilled students, a list by seed.
        exported: Position in that list of the student that is exported.
        count: How many samples to show of those with the largest divergence. Defaults to 9.

    Returns:
        A dict of arrays: labels `y` `[samples]`; logits `teacher` `[samples, classes]`, and `alone` and `distilled`
        `[seeds, samples, classes]`; `farthest` `[count]`, positions of samples by falling divergence, and `x`
        `[count, ...]`, their inputs.
    """
    x, y = test
    divergence = keras.ops.convert_to_numpy(kl_divergence(teacher, distilled[exported]))
    farthest = np.argsort(-divergence, kind="stable")[:count]
    logits = {"teacher": teacher, "alone": np.stack(alone), "distilled": np.stack(distilled)}
    return {"y": y, **logits, "farthest": farthest, "x": x[farthest]}
