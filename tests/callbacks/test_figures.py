"""Figures for TensorBoard: bars on a logarithmic axis, and the confusion of teacher and student."""

import numpy as np
import pytest

from keras_distill.callbacks import figures

X = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype("float32")
NAMES = ["left", "$middle$", "right"]
ORANGE = np.array([0xD5, 0x5E, 0x00])  # The student's colour.


def _height(picture, colour):
    """Return the height in pixels of everything drawn in a colour below the legend."""
    rows = np.nonzero((np.abs(picture[60:].astype(int) - colour) < 8).all(axis=-1).any(axis=1))[0]
    return rows.max() - rows.min() + 1 if len(rows) else 0


def test_bars_have_the_height_of_the_logarithm():
    def student(probability):
        columns = {"T = 1": (np.log10([[0.5, 0.5]]), np.log10([[probability, 1e-12]]))}
        return figures.soft_targets(np.zeros((1, 4)), columns, None, ["a", "b"], 1e-6, "")

    whole = _height(student(1.0), ORANGE)
    assert whole > 60
    for probability, share in ((1e-2, 2 / 3), (1e-3, 0.5), (1e-5, 1 / 6)):
        assert abs(_height(student(probability), ORANGE) - share * whole) <= 2
    # Below the floor there is a mark at the lower end.
    assert 0 < _height(student(1e-9), ORANGE) < whole / 6


def test_confusion_shows_only_disagreement_in_the_colour_of_the_student():
    agreed, confused = np.diag([50, 50, 50]), np.array([[50, 0, 0], [0, 0, 50], [0, 0, 50]])
    below = [figures.confusion(counts, NAMES, "")[60:300] for counts in (agreed, confused)]
    assert [_height(picture, ORANGE) > 50 for picture in below] == [False, True]


@pytest.mark.parametrize("classes", [2, 12, 13, 30, 200])
def test_any_number_of_classes_can_be_drawn(classes):
    names = [f"class number {number}" for number in range(classes)]
    logs = np.log10(np.random.default_rng(0).dirichlet(np.ones(classes), 3))
    right = np.array([classes - 1, -1, 0])
    picture = figures.soft_targets(X[:3], {"T = 1": (logs, logs)}, right, names, 1e-4, "")
    bars_alone = figures.soft_targets(X[:3, 0], {"T = 1": (logs, logs)}, right, names, 1e-4, "")
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert bars_alone.shape[0] == picture.shape[0] and bars_alone.shape[1] < picture.shape[1]
    assert figures.confusion(np.eye(classes, dtype=int), names, "").shape[2] == 3
