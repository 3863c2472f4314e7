"""Arguments of other distillers, and strings for a preprocessor: the answer says where they go here."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_distill as kd

KEYS = {
    "temperature": (10, r"LogitsDistillation\(temperature=\.\.\.\)"),
    "alpha": (0.1, r"student_loss_weight=\.\.\."),
    "student_loss_fn": (None, r"compile\(loss=\.\.\.\)"),
    "distillation_loss_fn": (None, r"distillation_losses=\.\.\."),
}


@pytest.mark.parametrize("name", KEYS)
def test_each_argument_of_kerass_example_has_its_place(mlp, name):
    value, place = KEYS[name]
    message = rf"^Expected `{name}`.*{place}.*Received: {name}={value}\."
    with pytest.raises(TypeError, match=message):
        kd.Distiller(student=mlp(4), teacher=mlp(8), **{name: value})
    with pytest.raises(TypeError, match=message):
        kd.Distiller(mlp(8), mlp(4), "kd").compile("adam", metrics=["accuracy"], **{name: value})


def test_several_at_once_and_other_mistakes(mlp):
    with pytest.raises(TypeError, match=r"Received: temperature=3, alpha=0\.5\."):
        kd.Distiller(mlp(8), mlp(4), "kd", alpha=0.5, temperature=3)
    with pytest.raises(TypeError, match="distillation_losses"):
        kd.Distiller(mlp(8), mlp(4))


def test_a_subclass_may_have_these_arguments(mlp):
    class Own(kd.Distiller):
        def __init__(self, teacher, student, temperature):
            super().__init__(teacher, student, kd.losses.LogitsDistillation(temperature))

    assert Own(mlp(8), mlp(4), temperature=3.0).temperature == 3.0


class Classifier(keras.Model):
    """A stand-in for a model of KerasHub: token ids in its call, strings in its own `fit`."""

    def __init__(self, name):
        super().__init__(name=name)
        vectorize = keras.layers.TextVectorization(output_sequence_length=4, vocabulary=["good", "bad"])
        self.preprocessor = lambda x, y=None: vectorize(x) if y is None else (vectorize(x), y)
        self.embedding, self.pool = keras.layers.Embedding(9, 4), keras.layers.GlobalAveragePooling1D()
        self.head = keras.layers.Dense(2)

    def call(self, ids):
        return self.head(self.pool(self.embedding(ids)))


TEXTS, Y = ["good", "bad", "good bad", "so so"], np.array([1, 0, 0, 1])
FORMS = {
    "a list": TEXTS,
    "NumPy": np.array(TEXTS),
    "objects": np.array(TEXTS, object),
    "a tensor": tf.constant(TEXTS),
    "tf.data": tf.data.Dataset.from_tensor_slices((TEXTS, Y)).batch(2),
    "tf.data without labels": tf.data.Dataset.from_tensor_slices(TEXTS).batch(2),
}


@pytest.fixture(scope="module")
def distiller():
    made = kd.Distiller(Classifier("large"), Classifier("small"), "kd")
    made.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    return made


@pytest.mark.parametrize("form", FORMS)
def test_strings_for_a_preprocessor_are_named(distiller, form):
    message = r"^Expected inputs that the preprocessor of the student 'small' has converted\. Received: strings\. Apply"
    for method in (distiller.fit, distiller.evaluate):
        with pytest.raises(ValueError, match=message):
            method(FORMS[form], verbose=0)


def test_converted_inputs_train(distiller):
    logs = distiller.fit(FORMS["tf.data"].map(distiller.student.preprocessor), verbose=0).history
    assert np.isfinite(logs["loss"]).all()
