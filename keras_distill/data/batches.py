"""Batches in an order, and with small random moves, that a seed alone decides."""

import keras
import numpy as np

from keras_distill._core.messages import expected


class Batches(keras.utils.PyDataset):
    """Walk through arrays in shuffled batches; the same seed gives the same batches, epoch for epoch.

    Two trainings that use the same seed see the same samples, in the same order and moved by the same pixels, so
    what differs between their results is the method. Pass `shuffle=False` to `fit()`: the order is made here.

    Args:
        x: Images `[samples, height, width, channels]`, or anything `[samples, ...]` where nothing is moved.
        y: Hard labels `[samples]`.
        batch_size: Samples per batch; what does not fill a last batch waits for the next epoch.
        seed: Seed of order and moves. Defaults to 0.
        shift: Largest move up, down, left and right, in pixels; what moves in is 0. Defaults to 0.
        flip: Whether to mirror half of the images left to right. Defaults to `False`.
        epoch: Epoch to begin with, for a training that goes on. Defaults to 0.

    Raises:
        ValueError: If there are fewer samples than one batch, or `shift` or `epoch` is negative.

    Example:

    >>> x, y = np.arange(6.0).reshape(6, 1), np.arange(6)
    >>> first, again = Batches(x, y, 2, seed=3), Batches(x, y, 2, seed=3)
    >>> [bool((first[i][1] == again[i][1]).all()) for i in range(len(first))]
    [True, True, True]
    """

    def __init__(self, x, y, batch_size, seed=0, shift=0, flip=False, epoch=0):
        super().__init__()
        if not 0 < batch_size <= len(y):
            raise ValueError(expected(f"a batch size from 1 to {len(y)}, the samples", f"batch_size={batch_size!r}"))
        if shift < 0:
            raise ValueError(expected("`shift` of 0 pixels or more", f"shift={shift!r}"))
        if epoch < 0:
            raise ValueError(expected("`epoch` of 0 or more", f"epoch={epoch!r}"))
        self.x, self.y, self.batch_size = x, y, batch_size
        self.seed, self.shift, self.flip = seed, shift, flip
        self.epoch = epoch
        self._windows = _windows(x, shift) if shift else None
        self._draw()

    def __len__(self):
        return len(self.y) // self.batch_size

    def __getitem__(self, index):
        rows = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        x = self.x[rows]
        if self.shift:
            down, right = self._moves[rows].T
            x = np.moveaxis(self._windows[rows, down, right], 1, -1)
        if self.flip:
            x = np.where(self._mirrored[rows][:, None, None, None], x[:, :, ::-1], x)
        return x, self.y[rows]

    def on_epoch_end(self):
        """Draw the next epoch's order and moves."""
        self.epoch += 1
        self._draw()

    def _draw(self):
        # Seeded by the epoch too, and drawn for everything at once: no batch depends on which was read before it.
        generator = np.random.default_rng((self.seed, self.epoch))
        self._order = generator.permutation(len(self.y))
        self._moves = generator.integers(0, 2 * self.shift + 1, (len(self.y), 2))
        self._mirrored = generator.random(len(self.y)) < 0.5


def _windows(x, shift):
    """View every moved copy of every image, without making one: `[samples, down, right, channels, height, width]`."""
    padded = np.pad(x, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, x.shape[1:3], axis=(1, 2))
