"""What DarkKnowledge writes of a training on JAX is what teacher and student say, read back by TensorBoard."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose
from tensorboard.plugins.hparams import api_pb2

import keras_distill as kd
from tests.callbacks.events import Events
from tests.jax.scenarios import HARD, classifier, data


def test_it_writes_what_both_say(tmp_path):
    pytest.importorskip("matplotlib")
    x, y = data()
    distiller = kd.Distiller(classifier(16, seed=3), classifier(8), "kd")
    distiller.compile(keras.optimizers.SGD(0.1), HARD, metrics=["accuracy"])
    watching = kd.callbacks.DarkKnowledge(tmp_path, (x, y), every=1, shown=1, temperatures=["training"])
    distiller.fit(x, y, validation_data=(x, y), epochs=2, batch_size=32, callbacks=[watching], verbose=0)
    events, session = (Events(tmp_path / "dark_knowledge" / run) for run in (".", "session_1"))
    teacher, student = (model.predict(x, verbose=0) for model in (distiller.teacher, distiller.student))
    agreement = events.scalars("agreement")
    assert agreement.keys() == {0, 1}
    assert_allclose(agreement[1], np.mean(teacher.argmax(-1) == student.argmax(-1)), rtol=1e-6)
    for owner, logits in (("teacher", teacher), ("student", student)):
        edges, counts = events.histogram(f"logit_scale/{owner}", 1)
        scale = logits.std(-1)
        assert counts.sum() == 96
        assert_allclose(edges[[0, -1]], [scale.min(), scale.max()], rtol=1e-5)
    for tag in ("soft_targets", "teacher_student_confusion"):
        assert events.tensors(tag)[1][2].startswith(b"\x89PNG")
    assert session.status == api_pb2.STATUS_SUCCESS
    assert session.hparams["optimizer"] == "SGD" and session.hparams["epochs"] == 2.0
