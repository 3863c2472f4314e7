"""The registry: one decorator registers a loss as a method and with Keras, and a wrapped function is saved as usual."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_distill.losses import METHODS, get, registry
from keras_distill.losses.logits import LogitFunctionLoss
from keras_distill.losses.registry import method


@pytest.fixture
def scratch(monkeypatch):
    """Let a test register methods without keeping them."""
    monkeypatch.setattr(registry, "METHODS", dict(METHODS))


def absolute_error(teacher_logits, student_logits, temperature=1.0, factor=1.0):
    return factor * ops.mean(ops.abs(student_logits - teacher_logits), axis=-1) / temperature


def register(name="absolute_error", **arguments):
    @method(name, paper="Nobody 2020", **arguments)
    class AbsoluteError(LogitFunctionLoss):
        function = staticmethod(absolute_error)
        hyper_parameters = ("factor",)

        def __init__(self, temperature=1.0, factor=1.0, name=None):
            super().__init__(temperature, name=name)
            self.factor = factor

    return AbsoluteError


def test_a_method_is_found_by_its_name(scratch):
    kind = register()
    loss = get("absolute_error", factor=2.0)
    assert type(loss) is kind and kind.method == loss.name == "absolute_error"
    assert repr(loss) == "AbsoluteError(temperature=1.0, factor=2.0)"
    assert keras.saving.get_registered_name(kind) == "keras_distill>AbsoluteError"


def test_hyper_parameters_reach_the_function_and_are_saved(scratch):
    loss = register()(temperature=2.0, factor=3.0)
    teacher, student = np.zeros((1, 2), "float32"), np.ones((1, 2), "float32")
    assert float(loss.compute_loss(teacher, student)) == 1.5
    assert float(loss.compute_loss(teacher, student, temperature=1.0)) == 3.0
    assert float(loss.per_sample(teacher, student)[0]) == 1.5
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config() == {"name": "absolute_error", "temperature": 2.0, "factor": 3.0}


def test_arguments_that_select_a_method_leave_the_class_without_a_name(scratch):
    kind = register("twice", config={"name": "twice", "factor": 2.0})
    assert kind.method is None and kind().name == "absolute_error"
    assert get("twice").name == "twice" and get("twice").factor == 2.0


def test_a_name_is_taken_once(scratch):
    with pytest.raises(ValueError, match=r"^Expected a name that no other method has\. Received: 'dkd', of DKD\.$"):
        register("dkd")
    register(), register()  # The same class again, as a notebook does.
