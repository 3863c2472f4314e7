"""The Pareto front of points with a cost and a quality."""

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the points that no other point dominates.

    A point dominates another if it has lower cost at no less quality, or higher quality at no more cost.

    Args:
        points: Tuples of cost and quality.

    Returns:
        List of positions in `points`, sorted by cost.

    Example:

    >>> front([(1.0, 0.90), (2.0, 0.95), (3.0, 0.93), (4.0, 0.99)])
    [0, 1, 3]
    """
    found, best = [], float("-inf")
    for index in sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1])):
        if points[index][1] > best:
            best = points[index][1]
            found.append(index)
    return found
