"""Train on one device and on two replicas, and write what came out. Run by `test_mirrored.py`.

python mirrored.py FILE
"""

import json
import pathlib
import sys
import tempfile
import warnings

import keras
import numpy as np
import tensorflow as tf
from problem import data, differences, distiller, fit_arrays, model, weights_of

import keras_distill as kd
from keras_distill.recipes import Recipe
from keras_distill.recipes.progress import Progress
from keras_distill.recipes.training import Trainer

two = kd.distribution.strategy("mirrored", devices=2)
one = kd.distribution.strategy("none")


def arrays_of_uneven_batches():
    # Batches of 9 are split into 5 and 4, the last one of 6 into 3 and 3. The data ends before 32 steps.
    return differences(*(fit_arrays(each, 96, 9, steps_per_execution=32) for each in (one, two)))


def last_sample_left_out():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        several = fit_arrays(two, 41, 20, validation=False)
    said = sorted({str(each.message) for each in caught if "left out" in str(each.message)})
    return {**differences(fit_arrays(one, 40, 20, validation=False), several), "said": said}


def stored_targets():
    x, y, _ = data()
    teacher = model(16, "teacher")
    with tempfile.TemporaryDirectory() as folder:
        kd.targets.write(teacher, x, f"{folder}/store", progress=False)
        store = kd.targets.open(f"{folder}/store")
        results = []
        for strategy in (one, two):
            made = distiller(strategy, kd.losses.LogitsDistillation(temperature=3.0), store)
            with strategy.scope():
                batches = kd.distribution.distribute(
                    tf.data.Dataset.from_tensor_slices((x, y)), 12, lambda own: store.join(own, order="any")
                )
            history = made.fit(batches, epochs=2, verbose=0)
            results.append((weights_of(made), history.history))
    return differences(*results)


def contrastive_memory():
    x, y, _ = data()
    results = []
    layers = {"teacher_layer_name": "hidden", "student_layer_name": "hidden"}
    for strategy in (one, two):
        batches = kd.data.indexed(x, y, batch_size=12, negatives=5, shuffle=False, seed=1).cache()
        made = distiller(strategy, kd.losses.CRD(dataset_size=96, embedding_width=4, **layers))
        history = made.fit(batches, epochs=2, verbose=0)
        bank = keras.ops.convert_to_numpy(made.objective.adapters[0].memory_student)
        results.append((np.concatenate([weights_of(made), np.ravel(bank)]), history.history))
    return differences(*results)


def one_batch():
    x, y, weights = (part[:12] for part in data())
    results = []
    for strategy in (one, two):
        made = distiller(strategy)
        logs = made.train_on_batch(x, y, weights, return_dict=True)
        results.append((weights_of(made), {name: [float(value)] for name, value in logs.items()}))
    return differences(*results)


def recipe():
    x, y, _ = data(200)
    splits = kd.data.Data(
        train=(x[:96], y[:96]), validation=(x[96:], y[96:]), test=(x[:1], y[:1]), class_names=list("abc")
    )
    made = Recipe(
        name="small",
        summary="small",
        data=lambda data_dir, download: splits,
        teacher=lambda: model(16, "teacher"),
        student=lambda: model(8, "student"),
        temperature=lambda epochs: kd.schedules.cosine(4.0, 2.0, steps=epochs),
        teacher_epochs=2,
        student_epochs=2,
        batch_size=9,
    )
    results = []
    for strategy in (one, two):
        with tempfile.TemporaryDirectory() as logs:
            trainer = Trainer(made, splits, pathlib.Path(logs), Progress(), strategy)
            teacher = trainer.teacher(0)
            student = trainer.distilled(0, teacher.model)
        history = {**{f"teacher_{name}": each for name, each in teacher.history.items()}, **student.history}
        assert all(one.extended.variable_created_in_scope(each.value) for each in student.model.variables)
        weights = [np.ravel(each) for trained in (teacher, student) for each in trained.model.get_weights()]
        results.append((np.concatenate(weights), history))
    return differences(*results)


def message(function):
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def errors():
    x, y, _ = data()
    out_of_scope = distiller(one)
    made = distiller(two)
    with two.scope():
        held = kd.Distiller(out_of_scope.teacher, out_of_scope.student, kd.losses.LogitsDistillation())
        held.compile("sgd")
    return {
        "batch": message(lambda: made.fit(x, y, batch_size=1, verbose=0)),
        "jit": message(lambda: made.compile("sgd", jit_compile=True)),
        "scope": message(lambda: held.fit(x, verbose=0)),
        "devices": message(lambda: kd.distribution.strategy("mirrored", devices=3)),
        "labels": message(lambda: made.fit(x, y + 7, batch_size=12, verbose=0)),
    }


checks = (arrays_of_uneven_batches, last_sample_left_out, stored_targets, contrastive_memory, one_batch, recipe, errors)
with open(sys.argv[1], "w") as file:
    json.dump({check.__name__: check() for check in checks}, file)
