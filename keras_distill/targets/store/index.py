"""Finding examples by their keys, with 24 bytes of memory for each example."""

import numpy as np


class Index:
    """Find the positions of keys, in the same time however many of them are equal.

    Args:
        keys: uint64 array `[examples, 2]`. If some are equal, the first one is found.

    Example:

    >>> Index(np.array([[7, 1], [3, 1], [7, 0]], "uint64")).find(np.array([[7, 0], [7, 1], [7, 2]], "uint64")).tolist()
    [2, 0, -1]
    """

    def __init__(self, keys: np.ndarray):
        order = np.lexsort((keys[:, 1], keys[:, 0]))  # Stable: equal keys keep their order.
        ordered = keys[order]
        differs = ordered[1:] != ordered[:-1]
        order = order[np.append(True, differs.any(axis=1))]
        self._high, self._low, self._order = keys[order, 0], keys[order, 1], order
        # Keys are hashes: different ones rarely share their first 64 bits, so `find` almost always takes one step.
        starts = np.flatnonzero(np.append(True, self._high[1:] != self._high[:-1]))
        self._steps = int(np.diff(np.append(starts, len(order))).max(initial=1))

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the position of each key, -1 for a key that is missing.

        Args:
            keys: uint64 array `[batch, 2]`.

        Returns:
            int64 array `[batch]`.
        """
        found = np.full(len(keys), -1, "int64")
        at = np.searchsorted(self._high, keys[:, 0])
        for _ in range(self._steps):
            inside = np.minimum(at, len(self._order) - 1)
            same = (self._high[inside] == keys[:, 0]) & (self._low[inside] == keys[:, 1])
            found = np.where(same & (at < len(self._order)), self._order[inside], found)
            at = at + 1
        return found
