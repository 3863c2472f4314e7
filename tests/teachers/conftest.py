"""Members whose logits a test can write down: each picks its own out of the inputs."""

import keras
import pytest


@pytest.fixture
def pick():
    """Make a model of inputs `[batch, *positions, members, classes]` that returns those of member `k`."""

    def make(k, members=3, classes=5, positions=(), head=None, dtype="float32", name=None):
        inputs = keras.Input((*positions, members, classes), dtype=dtype)
        outputs = inputs[..., k, :]
        if head is not None:
            outputs = keras.layers.Activation(head, dtype=dtype)(outputs)
        return keras.Model(inputs, outputs, name=name, dtype=dtype)

    return make


@pytest.fixture
def picks(pick):
    """Make one for each member."""
    return lambda members=3, **kwargs: [pick(k, members, **kwargs) for k in range(members)]
