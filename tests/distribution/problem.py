"""What the scripts of these tests train: something of everything that could go wrong on several replicas."""

import keras
import numpy as np

import keras_distill as kd

EPOCHS = 3


def data(samples=96):
    """Inputs, labels and weights of a learnable problem."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(samples, 4)).astype("float32")
    return x, np.argmax(x[:, :3], axis=-1).astype("int32"), generator.uniform(0.5, 1.5, samples).astype("float32")


def model(width, name):
    """A dense classifier with regularisation."""
    layers = [
        keras.Input((4,)),
        keras.layers.Dense(width, activation="relu", name="hidden", kernel_regularizer="l2"),
        keras.layers.Dense(3, name="head"),
    ]
    return keras.Sequential(layers, name=name)


def distiller(strategy, losses=None, teacher=None, steps_per_execution=1):
    """A compiled distiller, by default with a loss on logits and one on features, which has an adapter."""
    keras.utils.set_random_seed(3)
    layers = {"teacher_layer_name": "hidden", "student_layer_name": "hidden"}
    losses = losses or [kd.losses.LogitsDistillation(temperature=3.0), kd.losses.FeatureDistillation(**layers)]
    with strategy.scope():
        made = kd.Distiller(teacher or model(16, "teacher"), model(8, "student"), losses, student_loss_weight=0.3)
        made.compile(
            keras.optimizers.Adam(0.01),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            fidelity=teacher is None,
            steps_per_execution=steps_per_execution,
        )
    return made


def schedule():
    """A temperature for every epoch."""
    return kd.callbacks.TemperatureScheduler(kd.schedules.cosine(6.0, 2.0, steps=EPOCHS))


def fit_arrays(strategy, samples, batch_size, steps_per_execution=1, validation=True):
    """Train on arrays, with sample weights, a schedule and validation; return final weights and history."""
    x, y, weights = (part[:samples] for part in data())
    made = distiller(strategy, steps_per_execution=steps_per_execution)
    history = made.fit(
        x,
        y,
        sample_weight=weights,
        batch_size=batch_size,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[schedule()],
        validation_data=(x[:20], y[:20]) if validation else None,
    )
    return weights_of(made), history.history


def weights_of(made):
    """All that is trained, as one vector."""
    return np.concatenate([np.ravel(keras.ops.convert_to_numpy(each)) for each in made.trainable_variables])


def differences(one, several):
    """The greatest difference of the weights, and of the figures in the logs relative to those above 1."""
    (weights, history), (weights_too, history_too) = one, several
    assert list(history) == list(history_too)
    figures, figures_too = (np.array(list(each.values())) for each in (history, history_too))
    logs = np.max(np.abs(figures - figures_too) / np.maximum(np.abs(figures), 1.0))
    return {"weights": float(np.max(np.abs(weights - weights_too))), "logs": float(logs)}
