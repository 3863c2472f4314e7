"""One quick run, shared by many tests."""

import pytest

from keras_distill import recipes


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory):
    return recipes.run("digits", tmp_path_factory.mktemp("runs") / "digits", seeds=(0, 1), quick=True)
