"""Trainings that any backend can do from the same initial weights and batches: `python -m tests.jax.scenarios FOLDER`.

Each function of `SCENARIOS` trains and returns what has come of it, arrays by name.
"""

import pathlib
import sys
import warnings

import keras
import numpy as np

import keras_distill as kd
from keras_distill.stages import momentum_teacher

warnings.filterwarnings("ignore", "Check the teacher")  # Its weights are random.
HARD = "sparse_categorical_crossentropy"
PROCESSES = [0, 1]
"""The number of this process and how many there are."""
ARRAYS = {"sample_weight", "validation_data"}
LAYERS = {"teacher_layer_name": "hidden", "student_layer_name": "hidden"}
SAVED, STORE = "distiller.keras", "store"  # In the folder, by TensorFlow.


def filled(model, seed=0):
    """Give a model weights that no backend's random numbers have a part in."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed_generator" not in weight.path:
            scale = 1.0 if "variance" in weight.path or "gamma" in weight.path else 0.5
            weight.assign(
                scale * np.abs(generator.normal(size=weight.shape))
                if scale == 1.0
                else scale * generator.normal(size=weight.shape)
            )
    return model


def classifier(width, head=None, seed=0, **hidden):
    layers = [keras.layers.Dense(width, use_bias=False, name="hidden", **hidden), keras.layers.BatchNormalization()]
    layers += [keras.layers.ReLU(), keras.layers.Dense(3, head, name="head")]
    return filled(keras.Sequential([keras.Input((4,)), *layers]), seed)


def dataset(*parts):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(parts).batch(32)


def hints():
    return kd.losses.get("fitnet", **LAYERS)


def data(samples=96):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(samples, 4)).astype("float32")
    return x, np.argmax(x[:, :3], axis=-1).astype("int32")


def trained(distiller, *batches, optimizer="sgd", metrics=("accuracy",), **fit):
    """Train; return the weights of the student and of the adapters, and the logs."""
    optimizer = keras.optimizers.get({"class_name": optimizer, "config": {"learning_rate": 0.05}})
    distiller.compile(optimizer, HARD, metrics=list(metrics), fidelity=True, jit_compile="auto")
    fit = {"batch_size": 32 // PROCESSES[1], "epochs": 3, "shuffle": False, "verbose": 0, **fit}
    arrays = {name: keras.tree.map_structure(share, fit.pop(name)) for name in ARRAYS & fit.keys()}
    history = distiller.fit(*keras.tree.map_structure(share, batches), **fit, **arrays).history
    return {**outcome(distiller), **{f"log {name}": np.array(values) for name, values in history.items()}}


def share(values):
    """Return what this process has of each batch of arrays."""
    number, count = PROCESSES
    return (
        values.reshape(-1, count, 32 // count, *values.shape[1:])[:, number].reshape(-1, *values.shape[1:])
        if isinstance(values, np.ndarray)
        else values
    )


def outcome(distiller):
    weights = [*distiller.student.weights, *distiller.objective.trainable_variables]
    return {
        f"{number} {weight.path.split('/')[-1]}": keras.ops.convert_to_numpy(weight)
        for number, weight in enumerate(weights)
        if "seed_generator" not in weight.path
    }


def soft_targets(folder):
    """A schedule of temperatures, sample weights, samples without a label, a validation, Adam."""
    x, y = data()
    distiller = kd.Distiller(classifier(16, seed=3), classifier(8), "kd", student_loss_weight=0.3)
    schedule = kd.callbacks.TemperatureScheduler(kd.schedules.linear(8.0, 2.0, steps=9), unit="step")
    weights = np.linspace(0.0, 2.0, len(x), dtype="float32")
    labels = np.where(np.arange(len(y)) % 3 == 0, -1, y)
    arguments = {"sample_weight": weights, "validation_data": (x, y), "callbacks": [schedule]}
    return trained(distiller, x, labels, optimizer="adam", **arguments)


def feature_losses(folder):
    """Softmax heads, a regulariser, trained adapters, a weight that moves."""
    kinds = {"kernel_regularizer": "l2", "activity_regularizer": "l2"}
    student, teacher = classifier(8, "softmax", **kinds), classifier(16, "softmax", seed=3)
    losses = [kd.losses.LogitsDistillation(temperature=3.0), hints()]
    distiller = kd.Distiller(teacher, student, losses, [1.0, 0.2])
    filled(distiller.objective.adapters[1], seed=5)

    class Halve(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.distillation_loss_weights = [1.0, 0.2 / (epoch + 1)]

    return trained(distiller, *data(), callbacks=[Halve()])


def sequences(folder):
    """Masked positions of sequences."""
    tokens = np.random.default_rng(4).integers(0, 9, (64, 6))

    def model(width, seed):
        layers = [keras.layers.Embedding(9, width, mask_zero=True), keras.layers.Dense(5)]
        return filled(keras.Sequential([keras.Input((6,), dtype="int32"), *layers]), seed)

    return trained(kd.Distiller(model(8, 3), model(4, 0), "kd"), tokens, tokens % 5)


def moving_teacher(folder):
    """A teacher that follows the student, by a momentum that moves."""
    student = classifier(8)
    distiller = kd.Distiller(momentum_teacher(student), student, "kd")
    follow = kd.callbacks.MomentumTeacher(kd.schedules.linear(0.5, 0.9, steps=9))
    found = trained(distiller, *data(), callbacks=[follow])
    return {**found, "teacher": keras.ops.convert_to_numpy(distiller.teacher.weights[0])}


def contrastive(folder):
    """Banks of embeddings, by the index that comes with the batches."""
    x, y = data()
    loss = kd.losses.get("crd", **LAYERS, dataset_size=len(x), embedding_width=4)
    distiller = kd.Distiller(classifier(16, seed=3), classifier(8), loss)
    memory = distiller.objective.adapters[0]
    for number, weight in enumerate(memory.weights):
        if "z_" not in weight.path:
            weight.assign(np.random.default_rng(number).normal(size=weight.shape))
    others = np.random.default_rng(6).integers(0, len(x), (len(x), 8))
    others[:, 0] = np.arange(len(x))
    extras = {"index": np.arange(len(x)), "contrast_index": others}
    found = trained(distiller, dataset(x, y, np.ones(len(x), "float32"), extras), batch_size=None)
    return {**found, "bank": keras.ops.convert_to_numpy(memory.memory_student)}


def stored(folder):
    """A store of the two greatest classes, and of a layer, in the place of a teacher."""
    store = kd.targets.open(folder / STORE)
    batches = store.join(dataset(*data()))
    distiller = kd.Distiller(store, classifier(8), ["kd", hints()])
    filled(distiller.objective.adapters[1], seed=5)
    return trained(distiller, batches, batch_size=None)


def loaded(folder):
    """A distiller that TensorFlow has saved, and what it goes on to learn."""
    distiller = keras.models.load_model(folder / SAVED)
    x, y = data()
    found = {"outputs": distiller.predict(x, verbose=0), "teacher": keras.ops.convert_to_numpy(distiller.teacher(x))}
    distiller.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
    return {**found, **outcome(distiller)}


SCENARIOS = {
    each.__name__: each
    for each in (soft_targets, feature_losses, sequences, moving_teacher, contrastive, stored, loaded)
}


def main(folder):
    for name, scenario in SCENARIOS.items():
        np.savez(folder / f"{name}.npz", **scenario(folder))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
