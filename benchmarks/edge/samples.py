"""Load samples, run them in LiteRT on this machine, and compare the outputs with those of another machine."""

import numpy as np

from keras_distill.export import arrays
from keras_distill.export.runtimes.runtime import runtime_class


def load(path, count):
    """Return the first samples of an .npz file, a dict of str to array, batch first."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name][:count] for name in archive.files}


def chosen(samples, dtypes):
    """Return the samples that a file takes.

    Args:
        samples: dict of str to array.
        dtypes: dict of input name to dtype, a runtime's `input_dtypes`.

    Raises:
        ValueError: if one is missing.
    """
    missing = sorted(set(dtypes) - set(samples))
    if missing:
        raise ValueError(f"Expected samples for the inputs {missing}. Received: arrays called {sorted(samples)}.")
    return {name: samples[name] for name in dtypes}


def outputs_here(runtime, path, samples):
    """Return what a runtime on this machine makes of samples, a dict of str to float array."""
    opened = runtime_class(runtime)(path)
    return opened(chosen(samples, opened.input_dtypes))


def apart(one, other):
    """Return the share of equal top-1 answers and the largest difference, over all outputs.

    Args:
        one: dict of str to array, samples first, classes last.
        other: dict of the same names and shapes.

    Example:
        >>> apart({"y": np.float32([[1, 2], [4, 3]])}, {"y": np.float32([[1, 2.5], [2, 3]])})
        (0.5, 2.0)
    """
    if one.keys() != other.keys():
        raise ValueError(f"Expected the outputs {sorted(one)}. Received: {sorted(other)}.")
    agreed = [np.mean(one[name].argmax(-1) == other[name].argmax(-1)) for name in one]
    return float(min(agreed)), float(max(np.abs(one[name] - other[name]).max() for name in one))


def print_table(columns, rows):
    """Print a Markdown table, columns as wide as what stands in them."""
    lines = [[str(cell).replace("|", "\\|") for cell in line] for line in (columns, *rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")


__all__ = ["apart", "arrays", "chosen", "load", "outputs_here", "print_table"]
