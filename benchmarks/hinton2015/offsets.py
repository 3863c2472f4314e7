"""Correct the bias of classes that are too rare, or too frequent, in a transfer set."""

import numpy as np


def errors(logits, y, classes=(), offset=0.0):
    """Count the wrong answers of logits `[samples, classes]`, with an offset added to those of some classes."""
    return int(np.sum(np.argmax(shifted(logits, classes, offset), -1) != y))


def shifted(logits, classes, offset):
    """Return logits with an offset added to those of some classes."""
    logits = np.array(logits, "float64")
    logits[:, list(classes)] += offset
    return logits


def best_offset(logits, y, classes):
    """Find the one offset to the biases of some classes that leaves the fewest errors.

    An answer changes where the offset passes the margin between the best of the other classes and the best of these:
    between two margins the errors are constant, and all there is to try is one offset between each two.

    Args:
        logits: Float array `[samples, classes]`.
        y: Hard labels `[samples]`.
        classes: The classes whose biases are moved, by one offset for all of them.

    Returns:
        The offset, a float: where several are best, the one in their middle.

    Example:

    >>> logits = np.array([[4.0, 1.0], [3.0, 2.0], [5.0, 0.0]])
    >>> best_offset(logits, np.array([1, 1, 0]), [1])
    4.0
    """
    logits = np.asarray(logits, "float64")
    inside = np.isin(np.arange(logits.shape[1]), list(classes))
    margins = logits[:, ~inside].max(-1) - logits[:, inside].max(-1)
    right_inside = np.flatnonzero(inside)[logits[:, inside].argmax(-1)] == y
    right_outside = np.flatnonzero(~inside)[logits[:, ~inside].argmax(-1)] == y
    order = np.argsort(margins)
    # Right answers where all margins up to this one are passed, and none after it.
    gains = right_inside.astype(int) - right_outside.astype(int)
    right = right_outside.sum() + np.concatenate([[0], np.cumsum(gains[order])])
    edges = margins[order]
    edges = np.concatenate([[edges[0] - 1.0], edges, [edges[-1] + 1.0]])
    best = np.flatnonzero((right == right.max()) & (np.diff(edges) > 0))
    middle = best[len(best) // 2]
    return float((edges[middle] + edges[middle + 1]) / 2)
