"""The Pareto front of points that cost something and are worth something."""


def front(points):
    """Return which points none surpasses, having less cost and no less quality, or more quality at no more cost.

    Args:
        points: list of tuples of cost and quality.

    Returns:
        list of int, positions in `points`, by cost.

    Example:
        >>> front([(1.0, 0.90), (2.0, 0.95), (3.0, 0.93), (4.0, 0.99)])
        [0, 1, 3]
    """
    found, best = [], float("-inf")
    for place in sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1])):
        if points[place][1] > best:
            best = points[place][1]
            found.append(place)
    return found
