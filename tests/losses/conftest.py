"""Fixtures: a fixed seed, and the vectors of published implementations if they are available."""

import pathlib
import random

import numpy as np
import pytest

_FOLDER = pathlib.Path(__file__).parents[3] / "shared" / "conformance"


@pytest.fixture(autouse=True)
def fixed_seed():
    """Seed the initializers. Setting TensorFlow's own seed, which no loss uses, would clear its cache of kernels."""
    random.seed(7)
    np.random.seed(7)


@pytest.fixture
def vectors():
    """Return a function from the name of a method to its cases, a dict of dicts of arrays."""

    def load(method):
        path = _FOLDER / f"{method}.npz"
        if not path.exists():
            pytest.skip("the conformance vectors are not available")
        with np.load(path) as arrays:
            return {
                case: {key.split("/")[1]: arrays[key] for key in arrays.files if key.startswith(f"{case}/")}
                for case in arrays["cases"]
            }

    return load
