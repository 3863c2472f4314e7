"""Whatever `keras.Model.fit` takes and does, `Distiller.fit` takes and does; and what it must never do."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

import keras_distill as kd
from keras_distill.distiller.first_look import DoubtfulTeacherWarning


def make(mlp, *, losses=None, compile_kwargs=None, **kwargs):
    losses = losses or kd.losses.LogitsDistillation(4.0)
    distiller = kd.Distiller(mlp(16), mlp(4), losses, **kwargs)
    # As an object: one that is made within the first trace of a step costs a second trace.
    metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    arguments = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": metrics}
    distiller.compile(**{**arguments, **(compile_kwargs or {})})
    return distiller


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 6

    def __getitem__(self, index):
        rows = slice(16 * index, 16 * index + 16)
        return self.x[rows], self.y[rows]


def generator(x, y):
    while True:
        yield from (Batches(x, y)[i] for i in range(6))


FEEDS = {
    "arrays": lambda x, y: {"x": x, "y": y, "batch_size": 16},
    "tf.data": lambda x, y: {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(16), "shuffle": False},
    "tf.data without labels": lambda x, y: {"x": tf.data.Dataset.from_tensor_slices(x).batch(16), "shuffle": False},
    "PyDataset": lambda x, y: {"x": Batches(x, y)},
    "generator": lambda x, y: {"x": generator(x, y), "steps_per_epoch": 6, "shuffle": False},
    "validation split": lambda x, y: {"x": x, "y": y, "validation_split": 0.25},
}


@pytest.mark.parametrize("feed", FEEDS)
def test_every_kind_of_input_trains(mlp, data, feed):
    distiller = make(mlp, compile_kwargs={"run_eagerly": feed not in ("arrays", "validation split")})
    before = distiller.student.get_weights()
    logs = distiller.fit(**FEEDS[feed](*data), epochs=2, verbose=0).history
    assert logs["loss"][-1] < logs["loss"][0]
    assert all(np.any(one != other) for one, other in zip(before, distiller.student.get_weights(), strict=True))
    if feed == "validation split":
        assert [name for name in logs if name.startswith("val_")] == [
            *("val_loss", "val_student_loss", "val_total_loss", "val_accuracy")
        ]


MODES = {
    "plain": {},
    "eager": {"run_eagerly": True},
    "xla": {"jit_compile": True},
    "steps per execution": {"steps_per_execution": 3},
    "accumulation": {"optimizer": lambda: keras.optimizers.Adam(gradient_accumulation_steps=2)},
    "ema": {"optimizer": lambda: keras.optimizers.Adam(use_ema=True)},
}


def trained_in(mode, mlp, data):
    """Return the student's weights after two epochs, and the loss of the first."""
    keras.utils.set_random_seed(3)
    settings = MODES[mode]
    optimizer = settings.get("optimizer", keras.optimizers.Adam)()
    distiller = make(mlp, compile_kwargs={**settings, "optimizer": optimizer})
    logs = distiller.fit(*data, batch_size=32, epochs=2, shuffle=False, verbose=0).history
    return distiller.student.get_weights(), logs["loss"][0]


_PLAIN = []


@pytest.fixture
def plain(mlp, data):
    """Train without any setting: once, as it is the same for every mode."""
    if not _PLAIN:
        _PLAIN.append(trained_in("plain", mlp, data))
    return _PLAIN[0]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_training_gives_the_same_student(mlp, data, plain, mode):
    weights, loss = trained_in(mode, mlp, data)
    if mode in ("accumulation", "ema"):
        assert np.isfinite(loss) and loss < 2 * plain[1]
        return
    for one, other in zip(plain[0], weights, strict=True):
        assert_allclose(one, other, atol=1e-6)


def test_the_teacher_never_changes_and_is_nowhere_in_the_weights(mlp, data):
    teacher = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    )
    teacher.add(keras.layers.Dropout(0.5))  # In training mode it would change the soft targets.
    before = [weight.copy() for weight in teacher.get_weights()]
    distiller = kd.Distiller(teacher, mlp(4), kd.losses.LogitsDistillation())
    distiller.compile("adam", "sparse_categorical_crossentropy", fidelity=True)
    distiller.fit(*data, validation_data=data, epochs=2, verbose=0)
    distiller.evaluate(*data, verbose=0)
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    teachers = {id(variable) for variable in teacher.variables}
    for variables in (distiller.weights, distiller.variables, distiller.optimizer.variables):
        assert not teachers & {id(variable) for variable in variables}
    assert len(distiller.trainable_variables) == len(distiller.student.trainable_variables)


def test_soft_targets_come_from_inference_mode(data, mlp):
    teacher = mlp(16, dropout=0.9)
    distiller = kd.Distiller(teacher, mlp(4), kd.losses.LogitsDistillation())
    assert_allclose(distiller.teacher_outputs(data[0])["final_output"], teacher(data[0], training=False))


def test_one_forward_pass_each_per_step(data):
    calls = {"teacher": 0, "student": 0}

    class Counting(keras.layers.Layer):
        def __init__(self, role):
            super().__init__(name=f"counting_{role}")
            self.role = role

        def call(self, x):
            calls[self.role] += 1
            return x

    def model(role):
        layers = [keras.Input((4,)), keras.layers.Dense(5, name="hidden"), Counting(role), keras.layers.Dense(3)]
        return keras.Sequential(layers)

    losses = [kd.losses.LogitsDistillation(), kd.losses.FeatureDistillation("mse", "hidden", "hidden")]
    distiller = kd.Distiller(model("teacher"), model("student"), losses)
    distiller.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    distiller.train_on_batch(*data)  # Builds what there is to build.
    calls.update(teacher=0, student=0)
    distiller.train_on_batch(*data)
    assert calls == {"teacher": 1, "student": 1}


def test_evaluation_is_the_students_own(mlp, data):
    distiller = make(mlp)
    distiller.fit(*data, verbose=0)
    distiller.teacher.call = None  # Whoever runs the teacher now fails.
    logs = distiller.evaluate(*data, verbose=0, return_dict=True)
    student = distiller.student
    student.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    alone = student.evaluate(*data, verbose=0, return_dict=True)
    assert_allclose(
        [logs["loss"], logs["student_loss"], logs["accuracy"]], [alone["loss"], alone["loss"], alone["accuracy"]]
    )
    assert list(logs) == ["loss", "student_loss", "total_loss", "accuracy"]


def test_fidelity_asks_for_agreement_with_the_teacher(mlp, data):
    distiller = make(mlp, compile_kwargs={"fidelity": True})
    logs = distiller.fit(*data, validation_data=data, verbose=0).history
    outputs = distiller.teacher.predict(data[0], verbose=0), distiller.student.predict(data[0], verbose=0)
    assert_allclose(logs["val_agreement"][0], kd.metrics.agreement(*outputs))
    assert list(logs)[-1] == "val_agreement"
    assert "val_distillation_loss" in logs


def test_evaluation_without_labels_measures_the_soft_targets(mlp, data):
    distiller = make(mlp)
    logs = distiller.evaluate(data[0], verbose=0, return_dict=True)
    loss = kd.losses.LogitsDistillation(4.0).compute_loss(distiller.teacher(data[0]), distiller.student(data[0]))
    assert_allclose(logs["distillation_loss"], float(loss), rtol=1e-5)
    assert_allclose(logs["loss"], float(loss), rtol=1e-5)


def test_nothing_retraces_when_a_coefficient_changes(mlp, data):
    traces = []

    class Traced(kd.Distiller):
        def train_step(self, batch):
            traces.append(1)
            return super().train_step(batch)

    distiller = Traced(mlp(16), mlp(4), kd.losses.LogitsDistillation(4.0))
    distiller.compile("sgd", "sparse_categorical_crossentropy")
    distiller.fit(*data, batch_size=96, verbose=0)
    count = len(traces)
    losses = []
    for temperature, weight in ((1.0, 0.0), (8.0, 0.5), (2.0, 1.0)):
        distiller.temperature = temperature
        distiller.student_loss_weight = weight
        distiller.distillation_loss_weights = [temperature]
        logs = distiller.fit(*data, batch_size=96, verbose=0).history
        losses.append(logs)
        expected = weight * logs["student_loss"][0] + (1 - weight) * logs["distillation_loss"][0]
        assert_allclose(logs["loss"][0], expected, rtol=1e-5)
        assert logs["temperature"] == [temperature]
    assert len(traces) == count == 1


def test_a_callback_list_of_the_users_works(mlp, data):
    distiller = make(mlp)
    history = keras.callbacks.History()
    callbacks = keras.callbacks.CallbackList([history], model=distiller, epochs=2)
    distiller.fit(*data, epochs=2, callbacks=callbacks, verbose=0)
    assert int(distiller.epochs_trained) == 2
    assert list(history.history)[:3] == ["loss", "student_loss", "distillation_loss"]


@pytest.mark.parametrize("own_arguments", [{}, {"teacher_outputs": None, "student_outputs": None, "extras": None}])
def test_compute_loss_can_be_overridden_with_the_arguments_of_keras(mlp, data, own_arguments):
    def with_outputs(self, x=None, y=None, y_pred=None, sample_weight=None, training=True, **outputs):
        assert outputs.keys() == own_arguments.keys()
        return 2.0 * kd.Distiller.compute_loss(self, x, y, y_pred, sample_weight, training, **outputs)

    def of_keras(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        assert self.current_batch.teacher_outputs["final_output"].shape == y_pred.shape
        return 2.0 * kd.Distiller.compute_loss(self, x, y, y_pred, sample_weight, training)

    if own_arguments:
        with pytest.warns(DeprecationWarning, match="Use `self.current_batch.teacher_outputs`"):
            Doubled = type("Doubled", (kd.Distiller,), {"compute_loss": with_outputs})
    else:
        Doubled = type("Doubled", (kd.Distiller,), {"compute_loss": of_keras})
    distiller = Doubled(mlp(16), mlp(4), kd.losses.LogitsDistillation())
    distiller.compile("sgd", "sparse_categorical_crossentropy")
    logs = distiller.fit(*data, batch_size=96, verbose=0).history
    assert_allclose(logs["loss"][0], logs["student_loss"][0] + logs["distillation_loss"][0], rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_mixed_precision_computes_the_loss_in_float32(data, policy):
    def model(width, policy):
        layers = [keras.layers.Dense(width, dtype=policy), keras.layers.Dense(3, dtype=policy)]
        return keras.Sequential([keras.Input((4,)), *layers])

    teacher, student = model(16, "float32"), model(4, policy)
    distiller = kd.Distiller(teacher, student, kd.losses.LogitsDistillation(20.0))
    optimizer = keras.optimizers.SGD(0.05) if policy == "float16" else keras.optimizers.Adam(0.01)
    distiller.compile(optimizer, "sparse_categorical_crossentropy")
    loss = distiller.compute_loss(*data)
    assert loss.dtype == tf.float32
    v, z = (keras.ops.cast(m(data[0]), "float32") for m in (teacher, student))
    soft = kd.losses.LogitsDistillation(20.0).compute_loss(v, z)
    logs = distiller.fit(*data, batch_size=96, epochs=20, verbose=0).history
    assert_allclose(logs["distillation_loss"][0], float(soft), rtol=2e-3)
    assert logs["loss"][-1] < logs["loss"][0]
    is_scaled = isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
    assert is_scaled == (policy == "mixed_float16")


def test_adapters_are_trained_with_the_student_and_no_part_of_it(mlp, data):
    losses = [kd.losses.FeatureDistillation("mse", "hidden", "hidden"), kd.losses.LogitsDistillation()]
    distiller = kd.Distiller(mlp(16), mlp(4), losses, [1.0, 0.01])
    distiller.compile(keras.optimizers.Adam(0.05))
    adapter, none = distiller.objective.adapters
    assert none is None
    before = adapter.kernel.numpy()
    logs = distiller.fit(data[0], epochs=10, verbose=0).history
    assert adapter.kernel.shape == (4, 16)
    assert np.any(adapter.kernel.numpy() != before)
    assert logs["loss"][-1] < 0.7 * logs["loss"][0]
    assert not {id(v) for v in adapter.variables} & {id(v) for v in distiller.student.variables}


def test_feature_maps_get_a_pointwise_convolution(data):
    def model(width):
        layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(width, 3, name="map"), keras.layers.Flatten()]
        return keras.Sequential([*layers, keras.layers.Dense(3)])

    losses = [kd.losses.LogitsDistillation(), kd.losses.FeatureDistillation("mse", "map", "map")]
    distiller = kd.Distiller(model(6), model(2), losses)
    assert isinstance(distiller.objective.adapters[1], keras.layers.Conv2D)
    distiller.compile("adam", "sparse_categorical_crossentropy")
    logs = distiller.fit(np.ones((8, 8, 8, 1)), np.arange(8) % 3, verbose=0, sample_weight=np.ones(8)).history
    assert np.isfinite(logs["feature_distillation"][0])


def test_losses_of_keras_run_in_our_distiller(mlp, data):
    losses = [
        keras.distillation.LogitsDistillation(2.0, loss=keras.losses.KLDivergence()),
        keras.distillation.FeatureDistillation("mse", "hidden", "hidden"),
    ]
    distiller = make(lambda width: mlp(8), losses=losses)
    logs = distiller.fit(*data, epochs=3, verbose=0).history
    assert logs["loss"][-1] < logs["loss"][0]
    with pytest.warns(UserWarning, match="ignores sample weights"):
        distiller.fit(*data, sample_weight=np.ones(96), verbose=0)


def test_subclassed_models_train(data):
    class Classifier(keras.Model):
        def __init__(self, width):
            super().__init__()
            self.hidden, self.head = keras.layers.Dense(width, activation="relu"), keras.layers.Dense(3)

        def call(self, x):  # No `training`, as many have it.
            return self.head(self.hidden(x))

    distiller = kd.Distiller(Classifier(16), Classifier(8), kd.losses.LogitsDistillation())
    distiller.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    logs = distiller.fit(*data, epochs=10, verbose=0).history
    assert logs["accuracy"][-1] > logs["accuracy"][0]


def test_hard_loss_by_name_warns_of_nothing_and_by_object_once(mlp, data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DoubtfulTeacherWarning)
        make(mlp, compile_kwargs={"run_eagerly": True}).fit(*data, verbose=0)
    distiller = make(mlp, compile_kwargs={"loss": keras.losses.SparseCategoricalCrossentropy()})
    with pytest.warns(UserWarning, match="from_logits=True") as caught:
        distiller.fit(*data, epochs=2, verbose=0)
    assert len([warning for warning in caught if warning.category is UserWarning]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DoubtfulTeacherWarning)
        compiled = {"loss": distiller.loss.loss, "run_eagerly": True}
        make(lambda width: mlp(width, head="softmax"), compile_kwargs=compiled).fit(*data, verbose=0)


@pytest.mark.slow
def test_two_replicas_train_as_one_device():
    """In a process of its own: logical devices are made before TensorFlow starts."""
    import subprocess
    import sys

    script = """
import keras, numpy as np, tensorflow as tf, keras_distill as kd
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32"); y = (x[:, 0] > 0).astype("int32")
w = np.linspace(0.5, 1.5, 64).astype("float32")
def run(strategy):
    keras.utils.set_random_seed(1)
    with strategy.scope():
        def model(width):
            return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width, name="hidden",
                                     kernel_regularizer="l2"), keras.layers.Dense(2)])
        losses = [kd.losses.LogitsDistillation(4.0), kd.losses.FeatureDistillation("mse", "hidden", "hidden")]
        d = kd.Distiller(model(8), model(4), losses)
        d.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    logs = d.fit(x, y, sample_weight=w, batch_size=32, epochs=2, shuffle=False, verbose=0).history
    return d.student.get_weights(), {k: v[-1] for k, v in logs.items()}
one, logs1 = run(tf.distribute.get_strategy())
two, logs2 = run(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
for a, b in zip(one, two): np.testing.assert_allclose(a, b, atol=1e-6)
for k in logs1: np.testing.assert_allclose(logs1[k], logs2[k], rtol=1e-4, err_msg=k)
print("equal")
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=900)
    assert result.stdout.strip().endswith("equal"), result.stderr[-3000:]
