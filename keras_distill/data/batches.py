"""Batches whose order and small random shifts depend only on a seed."""

import math
from typing import Any

import keras
import numpy as np

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_whole_number


class Batches(keras.utils.PyDataset):
    """Shuffled batches of arrays; the same seed gives the same batches, epoch by epoch.

    Two trainings with the same seed see the same samples in the same order, shifted by the same pixels, so any
    difference between their results is due to the method. Pass `shuffle=False` to `fit()`, since the order is made
    here.

    Args:
        x: Images `[samples, height, width, channels]`, or any array `[samples, ...]` if nothing is shifted or flipped.
        y: Hard labels `[samples]`.
        batch_size: Samples per batch. Samples that do not fill a last batch are left out of that epoch.
        seed: Seed of the order and the shifts. Defaults to 0.
        shift: Largest shift up, down, left and right, in pixels, padded with 0. Defaults to 0.
        flip: Whether to mirror half of the images left to right. Defaults to `False`.
        epoch: First epoch, to resume a training. Defaults to 0.

    Raises:
        ValueError: If there are fewer samples than one batch, or `shift` or `epoch` is negative.

    Example:

    >>> x, y = np.arange(6.0).reshape(6, 1), np.arange(6)
    >>> first, again = Batches(x, y, 2, seed=3), Batches(x, y, 2, seed=3)
    >>> [bool((first[i][1] == again[i][1]).all()) for i in range(len(first))]
    [True, True, True]
    """

    @checked(x="[examples, *...]", y="[examples, *...]", batch_size=Any, shift=Any, epoch=Any, seed=(0, math.inf))
    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        batch_size: int,
        seed: int = 0,
        shift: int = 0,
        flip: bool = False,
        epoch: int = 0,
    ):
        super().__init__()
        self.x, self.y, self.seed, self.flip = x, y, seed, flip
        self.batch_size = check_whole_number("batch_size", batch_size, 1, len(y))
        self.shift = check_whole_number("shift", shift, 0)
        self.epoch = check_whole_number("epoch", epoch, 0)
        self._windows = _view_windows(x, self.shift) if self.shift else None
        self._draw()

    def __len__(self) -> int:
        return len(self.y) // self.batch_size

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        rows = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        x = self.x[rows]
        if self._windows is not None:
            down, right = self._shifts[rows].T
            x = np.moveaxis(self._windows[rows, down, right], 1, -1)
        if self.flip:
            x = np.where(self._mirrored[rows][:, None, None, None], x[:, :, ::-1], x)
        return x, self.y[rows]

    def on_epoch_end(self) -> None:
        """Draw the order and the shifts of the next epoch."""
        self.epoch += 1
        self._draw()

    def _draw(self):
        # Seeded by the epoch too, and drawn for the whole epoch: no batch depends on which was read before it.
        generator = np.random.default_rng((self.seed, self.epoch))
        self._order = generator.permutation(len(self.y))
        self._shifts = generator.integers(0, 2 * self.shift + 1, (len(self.y), 2))
        self._mirrored = generator.random(len(self.y)) < 0.5


def _view_windows(x, shift):
    """Return a view, without copies, of every shifted image: `[samples, down, right, channels, height, width]`."""
    padded = np.pad(x, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, x.shape[1:3], axis=(1, 2))
