"""Numbers formatted for readers: percentages, means with their spread, sizes."""

from collections.abc import Sequence

import numpy as np


def spread(values: Sequence[float]) -> str:
    """Format fractions as a percentage: their mean, with ± the standard deviation if there are several.

    Example:

    >>> spread([0.97, 0.98]), spread([0.5])
    ('97.50 ± 0.71 %', '50.00 %')
    """
    if len(values) == 1:
        return percent(values[0])
    return f"{100 * np.mean(values):.2f} ± {100 * np.std(values, ddof=1):.2f} %"


def percent(fraction: float | None) -> str:
    """Format a fraction as a percentage, and `None` as a dash."""
    return "–" if fraction is None else f"{100 * fraction:.2f} %"


def size(count: float) -> str:
    """Format a number of bytes.

    Example:

    >>> size(2048), size(3 * 1024 * 1024)
    ('2.0 kB', '3.0 MB')
    """
    return f"{count / 1024:.1f} kB" if count < 1024**2 else f"{count / 1024**2:.1f} MB"


def mean(values: Sequence[float]) -> str:
    """Format numbers: their mean, with ± the standard deviation if there are several.

    Example:

    >>> mean([0.25]), mean([0.25, 0.35])
    ('0.250', '0.300 ± 0.071')
    """
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.3f}"
