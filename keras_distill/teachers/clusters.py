"""Finding the classes that a generalist confuses, and the labels to train specialists on them."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._core.arrays import Axes, check_axes
from keras_distill._core.checked import checked
from keras_distill._core.checks import check_whole_number
from keras_distill._core.messages import expected
from keras_distill.teachers.combined import check_member, infer

_RESTARTS = 10
_ROUNDS = 100
_BATCH = 256


def _check_predictions(name, predictions):
    if not isinstance(predictions, (list, tuple)):
        check_axes({name: predictions}, {name: Axes("[...]")})
    elif len(predictions) != 2:
        raise ValueError(
            expected(f"{name} to be an array, or a pair of a generalist and inputs", f"{predictions!r:.200}")
        )


@checked(predictions=_check_predictions, clusters=Any, seed=(0, math.inf))
def find_clusters(predictions: Any, clusters: Any, size: Any = None, seed: int = 0) -> Any:
    """Find groups of classes that a model often confuses.

    Classes whose probabilities rise and fall together have similar columns in the covariance matrix of the predictions.
    K-means clusters these columns (Lloyd's algorithm from k-means++ seeds, the best of ten runs, deterministic for a
    seed). If a model is nearly always certain, predictions at a higher temperature, `softmax(logits / 4)`, show more.

    Args:
        predictions: Array `[samples, ..., classes]` of probabilities; or a pair `(generalist, x)` of a `keras.Model`
            that returns logits or ends in a softmax, and an array (or nest of arrays) of inputs.
        clusters: Number of clusters, from 1 to below the number of classes.
        size: Number of classes in each cluster: those nearest to its centre, so that clusters may overlap and miss some
            classes. Defaults to `None`: each class is in one cluster, and clusters of a single class are left out.
        seed: Seed of the first centres. Defaults to 0.

    Returns:
        List of sorted lists of classes.

    Raises:
        ValueError: If the predictions are not rows of probabilities, or a number is out of range.

    Example:

    >>> torn = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5], [0.6, 0.4, 0.0, 0.0], [0.0, 0.0, 0.4, 0.6]])
    >>> find_clusters(torn, clusters=2)
    [[0, 1], [2, 3]]

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531, section 5.2.
    """
    rows = _predicted(*predictions) if isinstance(predictions, (list, tuple)) else np.asarray(predictions, "float64")
    rows = _check_rows(np.reshape(rows, (-1, rows.shape[-1])) if rows.ndim > 1 else rows)
    classes = rows.shape[-1]
    clusters = check_whole_number("clusters", clusters, 1)
    if clusters >= classes:
        raise ValueError(expected(f"clusters to be below {classes}, the number of classes", f"clusters={clusters}"))
    if size is not None and check_whole_number("size", size, 1) >= classes:
        raise ValueError(expected(f"size to be below {classes}, the number of classes", f"size={size}"))
    centred = rows - rows.mean(axis=0)
    covariance = centred.T @ centred / len(rows)
    nearest, distances = _k_means(covariance.T, clusters, np.random.default_rng(seed))
    if size is not None:
        return sorted(sorted(np.argsort(column, kind="stable")[:size].tolist()) for column in distances.T)
    groups = [np.flatnonzero(nearest == cluster).tolist() for cluster in range(clusters)]
    return sorted(group for group in groups if len(group) > 1)


@checked(y="int [...]")
def specialist_labels(y: Any, cluster: Any) -> Any:
    """Turn labels into those of a specialist: the position in its cluster, or the dustbin, the last class.

    Args:
        y: Integer labels of any shape, array or tensor. Negative ones mark missing labels and stay as they are.
        cluster: List of the specialist's classes.

    Returns:
        Integers of the shape of `y`: a tensor if `y` is a tensor, else an array.

    Example:

    >>> specialist_labels([7, 3, 5, -1], cluster=[3, 5]).tolist()
    [2, 0, 1, -1]
    """
    (cluster,) = check_clusters([cluster], 1, None)
    labels = ops.cast(y, "int32")
    found = ops.equal(ops.expand_dims(labels, -1), ops.convert_to_tensor(np.asarray(cluster, "int32")))
    positions = ops.cast(ops.argmax(ops.cast(found, "int32"), axis=-1), "int32")
    others = ops.where(labels < 0, labels, len(cluster))
    labels = ops.where(ops.any(found, axis=-1), positions, others)
    return labels if ops.is_tensor(y) else ops.convert_to_numpy(labels)


def check_clusters(clusters: Any, count: int, classes: int | None) -> tuple[tuple[int, ...], ...]:
    """Return clusters as tuples; raise a `ValueError` unless there are `count` proper subsets of the classes.

    Args:
        clusters: For each specialist, the list of its classes.
        count: Number of specialists.
        classes: Number of classes, or `None` if it is unknown.
    """
    if not isinstance(clusters, (list, tuple)) or len(clusters) != count:
        found = len(clusters) if isinstance(clusters, (list, tuple)) else repr(clusters)
        raise ValueError(expected(f"{count} clusters, one for each specialist", f"{found}"))
    for cluster in clusters:
        valid = isinstance(cluster, (list, tuple, np.ndarray)) and len(cluster) > 0
        valid = valid and all(isinstance(c, (int, np.integer)) and not isinstance(c, bool) and c >= 0 for c in cluster)
        if not valid or len(set(cluster)) != len(cluster):
            raise ValueError(expected("clusters to be lists of different classes >= 0", f"{cluster!r}"))
        if classes is not None and (max(cluster) >= classes or len(cluster) >= classes):
            what = f"clusters of some, not all, of the classes from 0 to {classes - 1}"
            raise ValueError(expected(what, f"{list(cluster)}", "The dustbin must have a class."))
    return tuple(tuple(int(c) for c in cluster) for cluster in clusters)


def _predicted(generalist, x):
    check_member("generalist", generalist)
    count = len(keras.tree.flatten(x)[0])
    batches = [
        keras.tree.map_structure(lambda array, at=at: array[at : at + _BATCH], x) for at in range(0, count, _BATCH)
    ]
    logits = [ops.convert_to_numpy(infer(generalist, batch).logits).astype("float64") for batch in batches]
    logits = np.concatenate(logits)
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


def _check_rows(rows):
    valid = rows.ndim == 2 and len(rows) > 1 and np.isfinite(rows).all()
    if not valid or rows.min() < 0.0 or np.abs(rows.sum(axis=-1) - 1.0).max() > 1e-2:
        fix = "Apply a softmax to logits, or pass the model itself: `(generalist, x)`."
        raise ValueError(expected("two rows of probabilities or more", f"an array of shape {rows.shape}", fix))
    return rows


def _k_means(points, count, generator):
    """Return the nearest centre of each point and the squared distances `[points, centres]` of the best run."""
    runs = [_lloyd(points, _seeds(points, count, generator)) for _ in range(_RESTARTS)]
    distances = min(runs, key=lambda distances: distances.min(axis=-1).sum())
    return distances.argmin(axis=-1), distances


def _seeds(points, count, generator):
    """Draw centres among the points, each with probability proportional to its squared distance (k-means++)."""
    chosen = [int(generator.integers(len(points)))]
    while len(chosen) < count:
        apart = _distances(points, points[chosen]).min(axis=-1)
        apart[chosen] = 0.0
        if not apart.sum() > 0.0:  # All other points coincide with chosen ones.
            apart = np.isin(np.arange(len(points)), chosen, invert=True).astype("float64")
        chosen.append(int(generator.choice(len(points), p=apart / apart.sum())))
    return points[chosen]


def _lloyd(points, centres):
    for _ in range(_ROUNDS):
        distances = _distances(points, centres)
        nearest = distances.argmin(axis=-1)
        moved = np.stack([_centre(points, nearest == cluster, distances, cluster) for cluster in range(len(centres))])
        if np.array_equal(moved, centres):
            break
        centres = moved
    return _distances(points, centres)


def _centre(points, own, distances, cluster):
    """Return the mean of a cluster; an empty one restarts at the point that is farthest from all centres."""
    return points[own].mean(axis=0) if own.any() else points[distances.min(axis=-1).argmax()]


def _distances(points, centres):
    squares = (points**2).sum(axis=-1)[:, None] + (centres**2).sum(axis=-1) - 2.0 * points @ centres.T
    return np.maximum(squares, 0.0)
